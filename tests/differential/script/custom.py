"""Custom resources: definitions one by one, as dry runs, and one kind with much in its schema (custom.yaml)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.differential.steps import Script, Step

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def steps() -> Iterator[Step]:
    told = yaml.safe_load((Path(__file__).parent / "custom.yaml").read_text())
    add = Script("definitions")
    for case, body in told["definitions"].items():
        add(case, "POST", f"{DEFINITIONS}?dryRun=All", body)
    yield from add.steps
    add = Script("custom")
    add("define", "POST", DEFINITIONS, told["thing"])
    name = told["thing"]["metadata"]["name"]
    add("served", "GET", f"{DEFINITIONS}?watch=true&timeoutSeconds=5&fieldSelector=metadata.name%3D{name}", events=2)
    for one in told["requests"]:
        kinds = {"type": one.get("type", ""), "accept": one.get("accept", "")}
        add(one["id"], one["method"], one["path"], one.get("body"), **kinds)
    yield from add.steps
