"""MLflow: runs and figures for people to review. A view; the truth is elsewhere."""
