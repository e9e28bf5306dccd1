"""`python -m workers` with a short job in the place of an erasing; everything else is the real thing.

A job writes "<id> <its process>" into UNLEARN_HOME/started, waits while UNLEARN_HOME/hold exists, then writes its id
into UNLEARN_HOME/finished. While UNLEARN_HOME/eat exists, it takes as many MB of memory as that says, and frees them.
"""

import os
import runpy
import sys
import time
import types
from pathlib import Path


def fulfil(job_id, *, desk, settings, owner):
    desk.check()
    home = Path(os.environ["UNLEARN_HOME"])
    with (home / "started").open("a") as out:
        out.write(f"{job_id} {os.getpid()}\n")
    while (home / "hold").exists():
        time.sleep(0.02)
    if (home / "eat").exists():
        assert b"x" * (int((home / "eat").read_text()) << 20)
    with (home / "finished").open("a") as out:
        out.write(f"{job_id}\n")


module = types.ModuleType("unlearn.fulfilment")
module.fulfil = fulfil
sys.modules["unlearn.fulfilment"] = module
runpy.run_module("workers", run_name="__main__", alter_sys=True)
