"""What the server tells of itself when somebody asks: objects, deprecated versions in use, extension servers, health, build.

Names and labels as upstream's; nothing here costs a request anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from navarch import __version__
from navarch.apiserver.discovery import version_info
from navarch.apiserver.filters.metrics import RequestMetrics
from navarch.apiserver.health import of_root
from navarch.machinery.metrics import Collected, Labels, Metrics

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

BUILD = {
    "build_date": "buildDate", "compiler": "compiler", "git_commit": "gitCommit", "git_tree_state": "gitTreeState",
    "git_version": "gitVersion", "go_version": "goVersion", "major": "major", "minor": "minor", "platform": "platform",
}  # fmt: skip
ROOTS = ("healthz", "livez", "readyz")


def add(server: ApiServer, requests: RequestMetrics) -> None:
    metrics = server.metrics
    version = version_info(__version__)
    build = tuple(version[field] for field in BUILD.values())
    metrics.add(
        Collected("kubernetes_build_info", "What this server was built of.", tuple(BUILD), lambda: [(build, 1.0)])
    )

    def objects() -> Iterator[tuple[Labels, float]]:
        for cache in server.caches:
            resource = cache.kind.group_resource
            yield (resource.group, resource.resource), len(cache)

    def stored() -> Iterator[tuple[Labels, float]]:
        for (group, resource), number in objects():
            yield (f"{resource}.{group}" if group else resource,), number

    metrics.add(
        Collected("apiserver_resource_objects", "Number of objects, by resource.", ("group", "resource"), objects)
    )
    metrics.add(Collected("apiserver_storage_objects", "Number of objects, by resource.", ("resource",), stored))

    def deprecated() -> Iterator[tuple[Labels, float]]:
        removed = {
            (version.group, version.version, kind.plural): _removed_in(version.deprecation)
            for kind in server.kinds
            for version in kind.versions
            if version.deprecation
        }
        for group, version, resource, subresource in sorted(requests.asked()):
            if (release := removed.get((group, version, resource))) is not None:
                yield (group, release, resource, subresource, version), 1

    labels = ("group", "removed_release", "resource", "subresource", "version")
    what = "Deprecated versions that have been asked for, by the release that has them no longer."
    metrics.add(Collected("apiserver_requested_deprecated_apis", what, labels, deprecated))

    def unavailable() -> Iterator[tuple[Labels, float]]:
        for remote in server.aggregator.remotes.values():
            yield (remote.name,), 0 if remote.available else 1

    metrics.add(
        Collected("aggregator_unavailable_apiservice", "API services that are not available.", ("name",), unavailable)
    )


def _removed_in(deprecation: str) -> str:
    """The release that a deprecation's text says a version is gone in; "" where it says none."""
    return deprecation.partition("unavailable in v")[2].partition("+")[0]


def health(server: ApiServer) -> str:
    """/metrics/slis: the outcome of each check."""

    def outcomes() -> Iterator[tuple[Labels, float]]:
        for root in ROOTS:
            for name, check in of_root(root, server.routes.checks).items():
                yield (name, root), float(check())

    found = Metrics()
    help = "The outcome of a health check."
    found.add(Collected("kubernetes_healthcheck", help, ("name", "type"), outcomes))
    return found.text()
