"""The `unlearn` command: every capability of the program, with and without a server.

    finetune, erase, audit     on this machine, from files to files          local.py
    up, demo                   the whole service on this machine             service.py, demo.py
    backup, restore            what the service keeps, and back             backups.py
    request ...                a client of a running service                 requests.py

Commands import the heavy libraries when they run, not before, so that `--help` is quick.
"""
