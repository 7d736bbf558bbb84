"""What tunnels and proxies are asked for, as the options object that admission sees (CONNECT)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from navarch.apiserver.admission.interface import Body
from navarch.apiserver.options import flag
from navarch.apiserver.request import Request, RequestInfo
from navarch.machinery.types import Obj

Read = Callable[[list[str]], Any]


def _all(values: list[str]) -> list[str]:
    return values


def _first(values: list[str]) -> str:
    return values[0]


def _flag(values: list[str]) -> bool:
    return values[0] != "" and flag(values[0])


def _numbers(values: list[str]) -> list[int]:
    return [int(value) for value in values if value.isascii() and value.isdigit()]


_STREAMS: Mapping[str, Read] = {
    "stdin": _flag,
    "stdout": _flag,
    "stderr": _flag,
    "tty": _flag,
    "container": _first,
}
_OPTIONS: Mapping[tuple[str, str], tuple[str, Mapping[str, Read]]] = {
    ("pods", "attach"): ("PodAttachOptions", _STREAMS),
    ("pods", "exec"): ("PodExecOptions", {**_STREAMS, "command": _all}),
    ("pods", "portforward"): ("PodPortForwardOptions", {"ports": _numbers}),
    ("pods", "proxy"): ("PodProxyOptions", {}),
    ("services", "proxy"): ("ServiceProxyOptions", {}),
    ("nodes", "proxy"): ("NodeProxyOptions", {}),
}


def options_of(request: Request, target: RequestInfo) -> tuple[Obj, Body]:
    """The options that the query gives, without what is empty."""
    kind, fields = _OPTIONS[target.resource, target.subresource]
    tree: Obj = {"kind": kind, "apiVersion": "v1"}
    for name, read in fields.items():
        if (given := request.query.get(name)) and (value := read(given)):
            tree[name] = value
    if target.subresource == "proxy":
        tree["path"] = "/" + "/".join(target.parts) if target.parts else ""
    return tree, Body("", "v1", kind)


def take(request: Request, target: RequestInfo, tree: Obj) -> None:
    """Makes the request ask for what admission has made of its options."""
    for name in _OPTIONS[target.resource, target.subresource][1]:
        value = tree.get(name)
        if isinstance(value, list):
            request.query[name] = [str(item) for item in value]
        else:
            request.query[name] = ["true" if value is True else str(value or "")]
