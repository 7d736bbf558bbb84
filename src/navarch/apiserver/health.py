"""What a server must have done before it is well, under the names that upstream has for it; and /livez, /readyz, /healthz.

Sources: apiserver's server/healthz; the hooks that test/e2e/apimachinery/health_handlers.go looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from navarch.apiserver.discovery import not_found, plain
from navarch.apiserver.request import Request, Response

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

Check = Callable[[], bool]
Step = Literal["caches", "bootstrap", "custom", "aggregation", "fairness"]
"""Of a server's start."""
HOOK = "poststarthook/"
HOOKS: Mapping[Step, Sequence[str]] = {
    "caches": (
        "start-apiserver-admission-initializer",
        "generic-apiserver-start-informers",
        "storage-readiness",
        "start-kube-aggregator-informers",
    ),
    "bootstrap": (
        "start-system-namespaces-controller",
        "rbac/bootstrap-roles",
        "scheduling/bootstrap-system-priority-classes",
        "priority-and-fairness-config-producer",
        "start-cluster-authentication-info-controller",
        "start-legacy-token-tracking-controller",
        "start-service-ip-repair-controllers",
        "start-kubernetes-service-cidr-controller",
        "bootstrap-controller",
        "kube-apiserver-autoregistration",
    ),
    "custom": ("start-apiextensions-informers", "start-apiextensions-controllers", "crd-informer-synced"),
    "aggregation": (
        "apiservice-registration-controller",
        "apiservice-status-local-available-controller",
        "apiservice-status-remote-available-controller",
        "apiservice-discovery-controller",
        "apiservice-openapi-controller",
        "apiservice-openapiv3-controller",
    ),
    "fairness": ("priority-and-fairness-config-consumer", "priority-and-fairness-filter"),
}
"""What is done with a step, by the names of the hooks that do it upstream."""
READY_ONLY = frozenset(("informer-sync", "shutdown"))


def checks(server: ApiServer) -> dict[str, Check]:
    """By name, in the order in which they are told."""

    def done(step: Step) -> Check:
        return lambda: step in server.steps

    found: dict[str, Check] = {"ping": lambda: True, "log": lambda: True, "etcd": lambda: server.started}
    found["informer-sync"] = done("caches")
    for step, hooks in HOOKS.items():
        if step != "fairness" or server.config.fairness:
            found |= dict.fromkeys((HOOK + hook for hook in hooks), done(step))
    found["autoregister-completion"] = done("bootstrap")
    found["shutdown"] = lambda: not server.stopping
    return found


def of_root(root: str, checks: Mapping[str, Check]) -> dict[str, Check]:
    """The checks of `livez`, `readyz` or `healthz`."""
    return {name: check for name, check in checks.items() if root == "readyz" or name not in READY_ONLY}


def answer(request: Request, parts: Sequence[str], checks: Mapping[str, Check]) -> Response:
    """/livez, /readyz and /healthz, each check below its own path."""
    root = parts[0]
    own = of_root(root, checks)
    if len(parts) > 1:
        name = "/".join(parts[1:])
        if name not in own:
            return not_found()
        chosen: Mapping[str, Check] = {name: own[name]}
    else:
        excluded = set(request.query.get("exclude", ()))
        chosen = {name: check for name, check in own.items() if name not in excluded}
    failed = [name for name, check in chosen.items() if not check()]
    if failed or "verbose" in request.query:
        lines = [
            f"[{'-' if n in failed else '+'}]{n} {'failed: reason withheld' if n in failed else 'ok'}" for n in chosen
        ]
        lines.append(f"{root} check {'failed' if failed else 'passed'}")
        text = "\n".join(lines) + "\n"
    else:
        text = "ok"
    return plain(500 if failed else 200, text)
