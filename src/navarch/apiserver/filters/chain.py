"""The filters that every HTTP request passes, in the order of upstream's DefaultBuildHandlerChain.

Each filter is a function that wraps the handler behind it. Reads pass through all of them at once, without a task: a
filter sees an awaitable only where the handler itself must wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from navarch.apiserver.auth.configuration import Anonymous
from navarch.apiserver.auth.interface import Authenticator
from navarch.apiserver.filters.access import Decide, with_authentication, with_authorization
from navarch.apiserver.filters.answers import with_headers, with_request_info, with_statuses
from navarch.apiserver.filters.audit import Audit
from navarch.apiserver.filters.impersonation import with_impersonation
from navarch.apiserver.filters.limits import with_deadline
from navarch.apiserver.filters.metrics import RequestMetrics
from navarch.apiserver.request import Handler
from navarch.machinery.clock import World

Filter = Callable[[Handler], Handler]


def build(handler: Handler, filters: Sequence[Filter]) -> Handler:
    """The handler behind all filters; the first is the outermost."""
    for wrap in reversed(filters):
        handler = wrap(handler)
    return handler


def standard_filters(
    world: World,
    authenticator: Authenticator,
    anonymous: Anonymous,
    decide: Decide,
    metrics: RequestMetrics,
    limit: Filter,
    audit: Audit | None = None,
) -> list[Filter]:
    """`limit` bounds how much is under way at once."""
    return [
        lambda handler: with_headers(handler, world),
        metrics.with_metrics,
        with_statuses,
        with_request_info,
        lambda handler: with_deadline(handler, world),
        *([audit.with_failed_authentication] if audit else []),
        lambda handler: with_authentication(handler, authenticator, anonymous),
        *([audit.with_audit] if audit else []),
        lambda handler: with_impersonation(handler, decide),
        limit,
        lambda handler: with_authorization(handler, decide),
    ]
