"""Runs a House until its standard input ends; prints its addresses as JSON when it is up, or the error."""

import json
import os
import sys
from pathlib import Path

from unlearn.cli.house import House, free_port
from unlearn.errors import Unavailable
from unlearn.settings import Settings

port = int(os.environ.get("KEEPER_PORT") or free_port())
settings = Settings(home=Path(os.environ["UNLEARN_HOME"]), port=port)
try:
    with House(settings, mlflow_ui="mlflow" in sys.argv) as house:
        print(json.dumps(house.urls), flush=True)
        for line in sys.stdin:
            house.check()
            print(line.strip(), flush=True)
except Unavailable as error:
    print(error, flush=True)
