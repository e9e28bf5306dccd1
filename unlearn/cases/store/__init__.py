"""The only room that speaks SQL. Functions take a session and say nothing of policy; `desk` decides.

engine.py     connections, transactions, migrations          adapters.py   adapters, versions, subjects
jobs.py       jobs, leases, fences, the outbox               requests.py   requests
ledger.py     appending to and reading the ledger's tree    figures.py    the service in numbers
salts.py      under which names the ledger knows subjects   checkpoints.py  its signed checkpoints
owners.py     whose an entry of the ledger is
"""
