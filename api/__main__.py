"""`python -m api`: serve on UNLEARN_HOST and UNLEARN_PORT."""

import uvicorn

from api.app import create_app
from unlearn import logs
from unlearn.settings import Settings

GRACE_SECONDS = 5
"""For exchanges in progress once the server is told to stop; who follows a job would never end by itself."""


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    logs.begin(settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
