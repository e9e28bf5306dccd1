"""MLflow's server on a free port, which it prints: `python mlflow_server.py STORE ARTIFACTS`.

In one process, since `mlflow server` takes several times as long to start; the variables are those that it hands on.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mlflow_server(database: Path, artifacts: str | Path) -> Iterator[str]:
    """Its URL while it runs.

    Args:
        database: an SQLite file; made if it is not there.
        artifacts: where it keeps what it serves as mlflow-artifacts:/.
    """
    command = [sys.executable, "-P", __file__, f"sqlite:///{database}", str(artifacts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def serve(store: str, artifacts: str) -> None:
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=store).search_registered_models()  # its tables
    from mlflow.server import app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])
