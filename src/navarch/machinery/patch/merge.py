"""JSON merge patch (RFC 7386)."""

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
            out[key] = copy(value)
    return out


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
