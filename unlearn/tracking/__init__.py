"""MLflow: runs and figures for people to review. A view; the truth is elsewhere."""

import os

# Read when MLflow is imported: it calls nobody, and prints no addresses and progress bars among the lines of the log.
for name, value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # or one that is away takes minutes not to answer
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(name, value)
