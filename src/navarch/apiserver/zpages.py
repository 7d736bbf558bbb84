"""/statusz and /flagz: what a person who looks into a server wants to know first.

Sources: apiserver's server/statusz and server/flagz (both on by default in 1.36).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from navarch.apiserver.discovery import MINOR, version_info
from navarch.apiserver.negotiate import JSON, YAML, choices, dump, is_pretty, to_yaml
from navarch.apiserver.request import Handler, Request, Response
from navarch.machinery import errors
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.types import Obj

GROUP = "config.k8s.io"
VERSIONS = ("v1alpha1", "v1beta1")
NAME = "apiserver"
TEXT = "text/plain"
DELIMITERS = (":", ": ", "=", " ")
"""One of them, by chance: so that nobody parses the text."""
ORDINARY = frozenset(("api", "apis", "openid", "openapi", ".well-known"))
"""Roots of paths that are not for looking into the server."""
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for "
    "debugging purposes only."
)


def handlers(
    world: World, product: str, paths: Callable[[], Iterable[str]], flags: Mapping[str, str]
) -> dict[str, Handler]:
    """By path. `paths`: what the server's index lists; the server starts now."""
    started = world.now()

    def statusz(request: Request) -> Response:
        seconds = max(0, int(world.now() - started))
        facts: Obj = {
            "startTime": rfc3339(started),
            "uptimeSeconds": seconds,
            "goVersion": version_info(product)["goVersion"],
            "binaryVersion": f"1.{MINOR}.0",
            "emulationVersion": f"1.{MINOR}",
            "paths": roots(paths()),
        }
        return _answer(request, "Statusz", facts, lambda: _status_lines(facts, started))

    def flagz(request: Request) -> Response:
        shown = dict(sorted(flags.items()))
        return _answer(request, "Flagz", {"flags": shown}, lambda: _flag_lines(shown))

    return {"/statusz": statusz, "/flagz": flagz}


def roots(paths: Iterable[str]) -> list[str]:
    """The first parts of paths, without those that clients are for."""
    return sorted({f"/{root}" for path in paths if (root := path.split("/")[1]) and root not in ORDINARY})


def _answer(request: Request, kind: str, facts: Obj, lines: Callable[[], Iterable[str]]) -> Response:
    """Text, or an object of the kind for who asks for it. Raises 406."""
    accept = request.headers.get("accept", "").strip()
    for _, media, params in choices(accept) if accept else [(1.0, TEXT, {})]:
        wanted = params.get("as", "")
        if media in (TEXT, "text/*", "*/*") and not wanted:
            text = "\n".join((f"\n{NAME} {kind.lower()}", WARNING, *lines(), ""))
            return Response(200, text.encode(), f"{TEXT}; charset=utf-8")
        version = params.get("v", "")
        if media not in (JSON, YAML) or wanted != kind or params.get("g") != GROUP or version not in VERSIONS:
            continue
        tree: Obj = {"kind": kind, "apiVersion": f"{GROUP}/{version}", "metadata": {"name": NAME}, **facts}
        body = dump(tree, is_pretty(request)) if media == JSON else to_yaml(tree)
        headers = [("Warning", _old(kind))] if version != VERSIONS[-1] else []
        return Response(200, body, f"{media};g={GROUP};v={version};as={kind}", headers)
    raise errors.not_acceptable((JSON, YAML, TEXT))


def _old(kind: str) -> str:
    return f'299 - "This version of the {kind.lower()} endpoint is deprecated. Please use a newer version."'


def _status_lines(facts: Obj, started: float) -> Iterable[str]:
    mark, seconds = random.choice(DELIMITERS), facts["uptimeSeconds"]
    yield ""
    yield f"Started{mark} {datetime.fromtimestamp(started, UTC):%a %b %e %H:%M:%S UTC %Y}"
    yield f"Up{mark} {seconds // 3600} hr {seconds // 60 % 60:02} min {seconds % 60:02} sec"
    yield f"Go version{mark} {facts['goVersion']}"
    yield f"Binary version{mark} {facts['binaryVersion']}"
    yield f"Emulation version{mark} {facts['emulationVersion']}"
    yield f"Paths{mark} {' '.join(facts['paths'])}"


def _flag_lines(flags: Mapping[str, str]) -> Iterable[str]:
    mark = random.choice(DELIMITERS)
    return (f"{name}{mark}{value}" for name, value in flags.items())
