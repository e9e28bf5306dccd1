"""Evidence: the ledger's rules and the export. Pure: no SQL, no torch, no clock of its own."""
