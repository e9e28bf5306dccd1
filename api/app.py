"""The application: its routes, its errors, what lives as long as it does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from api import adapters, callbacks, explained, health, jobs, keys, ledger, metrics, opendsr, register, requests
from api.access import Access
from api.dependencies import known_query
from api.opendsr_answers import Signed
from api.problems import Gate, install
from api.traces import Spans
from unlearn import __version__
from unlearn.cases.desk import Desk
from unlearn.deploy import parse_hooks
from unlearn.errands import Courier
from unlearn.outbound import signer_of
from unlearn.purging import Sweeper
from unlearn.settings import Settings
from workers.queue import Bell
from workers.relay import Relay

log = logging.getLogger(__name__)

RENEW_DAYS = 30
"""A certificate with fewer days left is warned of at the start."""

DESCRIPTION = """
Machine unlearning for LoRA adapters. Register an adapter with what it learned; submit a deletion request; follow its
jobs; download the export. Errors are problem documents (RFC 9457). Send an API key as a bearer token.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API of these settings. Database and relay start with the app and stop with it."""
    signer = signer_of(settings)

    spans = Spans.of_environment()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        desk, bell = Desk(settings), Bell(settings)
        desk.migrate()
        if settings.local_key:
            desk.keep_local_key()
        desk.keep_ledger_key()
        relay = Relay(desk, bell, settings.sweep_seconds)
        if signer is not None and signer.days_left() < RENEW_DAYS:
            log.warning("the OpenDSR certificate ends in %d days; renew it, and start again", signer.days_left())
        app.state.desk, app.state.bell, app.state.relay, app.state.signer = desk, bell, relay, signer
        relay.start()
        courier = Courier(desk, settings, settings.sweep_seconds)
        sweeper = Sweeper(desk, settings, settings.purge_seconds)
        if settings.errands:
            parse_hooks(settings.hooks)  # a fault is told now, not at the first release
            courier.start()
            sweeper.start()
        try:
            yield
        finally:
            if settings.errands:
                sweeper.stop()
                courier.stop()
            relay.stop()
            bell.close()
            desk.close()
            if spans is not None:
                spans.close()

    app = FastAPI(
        title="unlearn",
        version=__version__,
        description=DESCRIPTION,
        lifespan=life,
        redirect_slashes=False,  # it would lead to whatever host and scheme the client's headers name
        dependencies=[Depends(known_query)],
    )
    for part in (requests, adapters, register, ledger, jobs, callbacks, keys, metrics, opendsr, health, explained):
        app.include_router(part.router)
    install(app)
    app.add_middleware(Gate)
    app.add_middleware(Signed, signer=signer)
    app.add_middleware(Access, spans=spans)
    return app
