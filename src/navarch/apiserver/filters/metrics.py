"""The filter that counts and times requests, and the server's metrics (names and labels as upstream's)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set

from navarch.apiserver.request import Handler, Request, RequestInfo, Response
from navarch.machinery.metrics import Collected, Counter, Gauge, Histogram, Labels, Metrics, add_process

DURATION_BUCKETS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
VERBS = frozenset(("GET", "LIST", "WATCH", "CREATE", "UPDATE", "PATCH", "DELETE", "DELETECOLLECTION"))
Served = Mapping[tuple[str, str, str], Set[str]]
"""(group, version, resource) of what is served -> its subresources. Other names do not become labels: nobody can grow
the metrics at will."""


class RequestMetrics:
    """apiserver_request_total, apiserver_request_duration_seconds and friends."""

    def __init__(self, metrics: Metrics, served: Served, watches: Callable[[], Iterator[tuple[Labels, float]]]) -> None:
        """`watches` gives the number of open watches by (group, resource)."""
        self.metrics = metrics
        self._total = metrics.add(
            Counter(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, "
                "scope, component, and HTTP response code.",
                ("code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"),
            )
        )
        self._seconds = metrics.add(
            Histogram(
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
                "subresource, scope and component.",
                DURATION_BUCKETS,
                ("component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"),
            )
        )
        self.in_flight = metrics.add(
            Gauge(
                "apiserver_current_inflight_requests",
                "Number of requests under way, by kind of request.",
                ("request_kind",),
            )
        )
        self._served = served
        metrics.add(
            Collected(
                "apiserver_longrunning_requests",
                "Number of open watches, by group and resource.",
                ("component", "group", "resource", "verb"),
                lambda: ((("apiserver", *labels, "WATCH"), value) for labels, value in watches()),
            )
        )
        add_process(metrics)

    def asked(self) -> set[tuple[str, str, str, str]]:
        """(group, version, resource, subresource) of all that has been asked for."""
        return {(labels[3], labels[8], labels[4], labels[6]) for labels in self._total.labels_seen()}

    def with_metrics(self, handler: Handler) -> Handler:
        def run(request: Request) -> Response | Awaitable[Response]:
            started = time.monotonic()
            answer = handler(request)
            if isinstance(answer, Response):
                self._count(request, answer.status, started)
                return answer
            return later(request, answer, started)

        async def later(request: Request, answer: Awaitable[Response], started: float) -> Response:
            response = await answer
            self._count(request, response.status, started)
            return response

        return run

    def _count(self, request: Request, status: int, started: float) -> None:
        labels = self._labels(request.info, "All" if "dryRun=All" in request.raw_query else "")
        component, dry_run, group, resource, scope, subresource, verb, version = labels
        self._total.add((str(status), component, dry_run, group, resource, scope, subresource, verb, version))
        if verb != "WATCH":
            self._seconds.observe(time.monotonic() - started, labels)

    def _labels(self, info: RequestInfo, dry_run: str) -> Labels:
        verb = info.verb.upper()
        if verb not in VERBS:
            verb = "other"
        subresources = self._served.get((info.group, info.version, info.resource))
        if subresources is None:
            return ("apiserver", dry_run, "", "", "", "", verb, "")
        if info.name:
            scope = "resource"
        else:
            scope = "namespace" if info.namespace else "cluster"
        subresource = info.subresource if info.subresource in subresources else ""
        return ("apiserver", dry_run, info.group, info.resource, scope, subresource, verb, info.version)
