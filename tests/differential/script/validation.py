"""Defaults and validation: one change at a time to ordinary objects (validation.yaml), as dry runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.differential.script.kinds import CSR
from tests.differential.steps import Script, Step


def steps() -> Iterator[Step]:
    for entry in yaml.safe_load((Path(__file__).parent / "validation.yaml").read_text()):
        add = Script(f"valid-{entry['plural']}")
        below = "" if entry.get("cluster") else "namespaces/{ns}/"
        path = f"/{entry['api']}/{below}{entry['plural']}?dryRun=All"
        base = {"metadata": {"name": "{ns}-valid" if entry.get("cluster") else "valid"}, **entry["object"]}
        base = json.loads(json.dumps(base).replace('"CSR"', f'"{CSR}"'))
        for case, changes in entry["cases"].items():
            add(case, "POST", path, changed(base, changes))
        yield from add.steps


def changed(base: Any, changes: dict[str, Any]) -> Any:
    """A copy of the tree with other values at dotted paths; null deletes. What is before a dot may be absent."""
    tree = copy.deepcopy(base)
    for path, value in changes.items():
        # keys of annotations and resources have dots of their own, but stand in values only
        *parents, last = path.split(".")
        node = tree
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if value is None:
            node.pop(last, None)
        elif isinstance(node, list):
            node[int(last)] = copy.deepcopy(value)
        else:
            node[last] = copy.deepcopy(value)
    return tree
