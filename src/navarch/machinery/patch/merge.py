"""JSON merge patch (RFC 7386), and what upstream's library makes of nulls within lists."""

from __future__ import annotations

from typing import Any

from navarch.machinery.trees import copy
from navarch.machinery.types import Obj


def apply(tree: Obj, patch: Obj) -> Obj:
    """The patched tree; neither argument changes, and the result shares what the patch left alone with `tree`."""
    out = dict(tree)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            below: Any = out.get(key)
            out[key] = apply(below if isinstance(below, dict) else {}, value)
        else:
            out[key] = copy(value) if isinstance(out.get(key), dict) else _pruned(value)
    return out


def _pruned(value: Any) -> Any:
    """A copy without the objects' keys that are null; what is null in a list stays."""
    if isinstance(value, dict):
        found: Obj = value
        return {key: _pruned(below) for key, below in found.items() if below is not None}
    if isinstance(value, list):
        items: list[Any] = value
        return [_pruned(item) for item in items]
    return value


def diff(old: Obj, new: Obj) -> Obj:
    """The smallest merge patch that makes `new` of `old` (trees without nulls)."""
    patch: Obj = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = copy(value)
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if below := diff(old[key], value):
                patch[key] = below
        elif value != old[key] or isinstance(value, bool) != isinstance(old[key], bool):
            patch[key] = copy(value)
    return patch
