"""What updates and patches may change: one change at a time to objects that are there, as dry runs (updates.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.differential.script.validation import changed
from tests.differential.steps import JSON_PATCH, MERGE, STRATEGIC, Script, Step

TYPES = {"merge": MERGE, "json": JSON_PATCH, "strategic": STRATEGIC}


def steps() -> Iterator[Step]:
    for entry in yaml.safe_load((Path(__file__).parent / "updates.yaml").read_text()):
        add = Script(f"update-{entry.get('area', entry['plural'])}")
        below = "" if entry.get("cluster") else "namespaces/{ns}/"
        path, name = f"/{entry['api']}/{below}{entry['plural']}", "{ns}-up" if entry.get("cluster") else "up"
        base = {"metadata": {"name": name}, **entry["object"]}
        made = add("create", "POST", path, base)
        base = changed(base, {"metadata.resourceVersion": f"{{{made}:metadata.resourceVersion}}"})
        for case, changes in entry.get("puts", {}).items():
            add(case, "PUT", f"{path}/{name}?dryRun=All", changed(base, changes))
        for case, changes in entry.get("statuses", {}).items():
            add(case, "PUT", f"{path}/{name}/status?dryRun=All", changed(base, changes))
        for type, patches in entry.get("patches", {}).items():
            for case, patch in patches.items():
                add(case, "PATCH", f"{path}/{name}?dryRun=All", patch, type=TYPES[type])
        add("delete", "DELETE", f"{path}/{name}?gracePeriodSeconds=0&propagationPolicy=Background")
        yield from add.steps
