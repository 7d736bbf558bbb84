"""What differs between two runs of the same script on the same server is replaced by a mark that begins with "~"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"20(?:2[5-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_GENERATED = re.compile(r"(gen-)[bcdfghjklmnpqrstvwxz2456789]{5}\b")
_ADDRESS = re.compile(r"\b10\.96\.\d+\.\d+\b")
_NUMBER = re.compile(r"\b\d+\b")
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
_AGE = re.compile(r"(\d+[smhdy])+")
_VOLUME = re.compile(r"\bkube-api-access-[a-z0-9]{5}\b")
_SELF = re.compile(r"\bselfType\d+\b")
"""What an expression's messages call the object that it is about."""
_PORTS = range(30086, 33000)
"""Node ports that are given at random; scripts ask for lower ones."""


class Normaliser:
    """For one run, whose own names are given."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = sorted(((value, "{" + key + "}") for key, value in names.items()), reverse=True)

    def body(self, content: Any) -> Any:
        tree = self.tree(content)
        if isinstance(tree, dict) and tree.get("kind") == "Table":
            _tables(tree)
        elif isinstance(tree, list):
            for frame in tree:
                if isinstance(frame, dict) and isinstance(frame.get("object"), dict):
                    _tables(frame["object"])
        return tree

    def tree(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self.text(k): self.tree(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self.tree(v) for v in value]
        if isinstance(value, str):
            if key == "resourceVersion" and value not in ("", "0"):
                return "~revision"
            if key in ("continue", "token") and value:
                return "~" + key
            return self.text(value)
        if key in ("nodePort", "healthCheckNodePort") and value in _PORTS:
            return "~port"
        return value

    def text(self, text: str) -> str:
        for value, mark in self._names:
            text = text.replace(value, mark)
        text = _UUID.sub("~uid", text)
        text = _TIME.sub(lambda m: "~microtime" if m[1] else "~time", text)
        text = _ADDRESS.sub("~address", text)
        text = _TOKEN.sub("~token", text)
        text = _VOLUME.sub("~volume", text)
        text = _SELF.sub("~self", text)
        return _GENERATED.sub(r"\1~", text)


def _tables(tree: Any) -> None:
    """Ages in a Table's cells."""
    for row in tree.get("rows") or ():
        row["cells"] = [
            "~age" if isinstance(cell, str) and _AGE.fullmatch(cell) else cell for cell in row.get("cells") or ()
        ]


def without_numbers(text: str) -> str:
    """A message without revisions and the like."""
    return _NUMBER.sub("~", text)
