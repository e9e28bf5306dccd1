"""The service in numbers, for Prometheus. Counted in the database at each scrape: any process can answer, and a
restart loses nothing but the relay's own count. No label names a company, a request, a job or a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric

from api.dependencies import TheDesk, TheRelay, Watcher
from api.problems import answers
from unlearn.cases.views import ErrandKind, ErrandState, Figures, JobKind, JobState, RequestState
from unlearn.outbound import Signer

router = APIRouter(tags=["health"])

SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Upper bounds of the buckets of job seconds."""


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        **answers(403, 503),
        200: {
            "description": "Prometheus text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "unlearn_requests_overdue 0.0\n"}},
        },
    },
)
def metrics(request: Request, desk: TheDesk, relay: TheRelay, who: Watcher) -> Response:
    """Requests and their clocks, jobs, queue, outbox, verdicts. Scope: `audit`; none with UNLEARN_METRICS_OPEN.

    A key sees its own company's figures; without one they are those of all.
    """
    registry = CollectorRegistry(auto_describe=False)
    signer: Signer | None = request.app.state.signer
    days = None if signer is None else signer.days_left()
    registry.register(Collector(desk.figures(who), relay.failed_turns, days))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Collector:
    """The figures as metric families.

    Args:
        figures: of the database.
        failed_rounds: of this process's relay.
        certificate_days: until the OpenDSR certificate ends; None where there is none.
    """

    def __init__(self, figures: Figures, failed_rounds: int, certificate_days: float | None = None) -> None:
        self._figures, self._failed_rounds, self._certificate_days = figures, failed_rounds, certificate_days

    def collect(self) -> Iterable[Metric]:
        """Every family, those with nothing in them as well."""
        f = self._figures
        jobs = {(k, s): f.jobs.get((k, s), 0) for k in get_args(JobKind) for s in get_args(JobState)}
        yield _gauges("requests", "Deletion requests by state.", ["state"], _each(RequestState, f.requests))
        yield _gauge("requests_overdue", "Requests that have not ended and are past their due date.", f.overdue)
        late = "Requests whose receipt was confirmed later than the regulation asks (ccpa), ended ones among them."
        yield _gauge("requests_confirmed_late", late, f.confirmed_late)
        yield _gauge("requests_due_soon", "Requests that have not ended and are due within 7 days.", f.due_soon)
        yield _gauge("requests_held", "Requests that have not ended and are under a legal hold.", f.held)
        yield _gauges("jobs", "Jobs by kind and state.", ["kind", "state"], jobs)
        yield _gauge("jobs_running", "Jobs that a worker has.", sum(n for (_, s), n in jobs.items() if s == "running"))
        yield _gauge("queue_jobs", "Queued jobs that a worker could take now.", f.queue.number)
        yield _gauge("queue_oldest_seconds", "How long the oldest of them has waited.", f.queue.oldest_seconds)
        yield _gauge("leases_expired", "Running jobs whose worker fell silent.", f.expired_leases)
        yield _gauge("outbox_unsent", "Doorbells that have not rung.", f.outbox.number)
        yield _gauge("outbox_oldest_seconds", "How long the oldest of them has waited.", f.outbox.oldest_seconds)
        errands = {(k, s): f.errands.get((k, s), 0) for k in get_args(ErrandKind) for s in get_args(ErrandState)}
        yield _gauges("errands", "Callbacks and deployments by kind and state.", ["kind", "state"], errands)
        yield _gauge("errands_due", "Callbacks and deployments that could be run now.", f.errands_due.number)
        yield _gauge("errands_oldest_seconds", "How long the oldest of them has waited.", f.errands_due.oldest_seconds)
        yield from self._retries()
        yield _counter("verdicts", "Verdicts of the gates.", ["verdict", "method"], f.verdicts)
        yield _counter("job_attempts", "Starts of jobs.", ["kind"], {(k,): n for k, n in f.attempts.items()})
        about = "From first start to end, of jobs that ended within the last day."
        yield _seconds("job_seconds", about, "kind", {kind: f.job_seconds.get(kind, ()) for kind in get_args(JobKind)})
        about = "In each stage, over all attempts, of jobs that ended within the last day."
        yield _seconds("job_stage_seconds", about, "stage", f.stage_seconds)
        if self._certificate_days is not None:
            about = "Days until the OpenDSR certificate, or one of its issuers, ends."
            yield _gauge("opendsr_certificate_days_left", about, self._certificate_days)
        yield _counter(
            "relay_rounds_failed", "Rounds of this process's relay that failed.", [], {(): self._failed_rounds}
        )

    def _retries(self) -> Iterator[Metric]:
        """What fails shows while it is tried again, a day before it is given up."""
        f = self._figures
        about = "Callbacks and deployments that failed and are tried again."
        yield _gauges("errands_retried", about, ["kind"], _each(ErrandKind, f.errands_retried))
        about = "Attempts at callbacks and deployments that failed."
        yield _counter("errand_failures", about, ["kind"], _each(ErrandKind, f.errand_failures))
        about = "Since the oldest that still waits was planned, tried or not."
        yield _gauges("errands_waiting_seconds", about, ["kind"], _each(ErrandKind, f.errand_seconds))


def _each(words: Any, found: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    """A figure for each of the words, 0 where nothing was found."""
    return {(word,): found.get(word, 0) for word in get_args(words)}


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"unlearn_{name}", about, value=value)


def _gauges(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"unlearn_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"unlearn_{name}", about, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _seconds(name: str, about: str, label: str, found: Mapping[str, tuple[float, ...]]) -> GaugeHistogramMetricFamily:
    """A gauge histogram: its window moves, so that its buckets may shrink, and `rate` of them means nothing."""
    family = GaugeHistogramMetricFamily(f"unlearn_{name}", about, labels=[label])
    for key, seconds in sorted(found.items()):
        family.add_metric([key], list(_buckets(seconds)), sum(seconds))
    return family


def _buckets(seconds: tuple[float, ...]) -> Iterator[tuple[str, float]]:
    for bound in SECONDS:
        yield f"{bound}.0", sum(one <= bound for one in seconds)
    yield "+Inf", len(seconds)
