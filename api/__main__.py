"""`python -m api`: serve on UNLEARN_HOST and UNLEARN_PORT."""

import logging

import uvicorn

from api.app import create_app
from unlearn.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
