"""A span an exchange, by OpenTelemetry (the extra `otel`), where the standard OTEL_EXPORTER_OTLP_ENDPOINT says so.

A closed list goes on a span: method, template of the route, status, our id of the exchange. The ready-made
instrumentation puts addresses, queries and the messages of errors on it, where a person's identity may be.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.access import Exchange

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Spans:
    """Begins and ends spans.

    Args:
        provider: an OpenTelemetry TracerProvider.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("unlearn.api")

    @classmethod
    def of_environment(cls) -> Spans | None:
        """Spans that are sent where the environment says; None where it does not say, or nothing can send them."""
        if not any(os.environ.get(name) for name in ENDPOINTS):
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            log.warning(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is installed that could send a trace there: "
                "pip install 'unlearn-service[otel]', or unset it"
            )
            return None
        name = os.environ.get("OTEL_SERVICE_NAME") or "unlearn-api"
        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    @contextmanager
    def around(self, headers: Iterable[tuple[bytes, bytes]], request_id: str, told: Exchange) -> Iterator[None]:
        """A span around the block; what `told` says at the end of it is what the span says."""
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # Of the caller's trace the ids alone: `tracestate` and `baggage` are text of its choice.
        theirs = dict(headers).get(b"traceparent", b"")
        parent = TraceContextTextMapPropagator().extract({"traceparent": theirs.decode("latin-1")})
        with self._tracer.start_as_current_span(
            told.method, parent, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            finally:
                span.update_name(f"{told.method} {told.route}" if told.route else told.method)
                span.set_attribute("http.request.method", told.method)
                span.set_attribute("unlearn.request_id", request_id)
                if told.route is not None:
                    span.set_attribute("http.route", told.route)
                if told.status is not None:
                    span.set_attribute("http.response.status_code", told.status)
                if told.status is None or told.status >= 500:
                    span.set_status(StatusCode.ERROR)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
