"""The wire: what goes in and out as JSON, with examples; a file for each file of endpoints. No tables and no views."""
