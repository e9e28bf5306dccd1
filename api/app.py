"""The application: its routes, its errors, what lives as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import adapters, explained, health, jobs, keys, requests
from api.problems import Gate, install
from unlearn import __version__
from unlearn.cases.desk import Desk
from unlearn.settings import Settings
from workers.queue import Bell
from workers.relay import Relay

DESCRIPTION = """
Machine unlearning for LoRA adapters. Register an adapter with what it learned; submit a deletion request; follow its
jobs; download the export. Errors are problem documents (RFC 9457). Send an API key as a bearer token.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API of these settings. Database and relay start with the app and stop with it."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        desk, bell = Desk(settings), Bell(settings)
        desk.migrate()
        if settings.local_key:
            desk.keep_local_key()
        relay = Relay(desk, bell, settings.sweep_seconds)
        app.state.desk, app.state.bell, app.state.relay = desk, bell, relay
        relay.start()
        try:
            yield
        finally:
            relay.stop()
            bell.close()
            desk.close()

    app = FastAPI(title="unlearn", version=__version__, description=DESCRIPTION, lifespan=life)
    for part in (adapters, requests, jobs, keys, health, explained):
        app.include_router(part.router)
    install(app)
    app.add_middleware(Gate)
    return app
