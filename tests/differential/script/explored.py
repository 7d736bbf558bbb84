"""What exploration found, kept: expressions of definitions, and values for every field of a custom resource
(explored.yaml). All but the definition and one object are dry runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.differential.script.custom import DEFINITIONS
from tests.differential.steps import APPLY, JSON_PATCH, MERGE, Script, Step

GADGETS = "/apis/{ns}.gadgets.example.org/v1/namespaces/{ns}/gadgets"
TURNS = ("create", "merge", "create", "apply", "create", "put", "create", "json")


def steps() -> Iterator[Step]:
    told = yaml.safe_load((Path(__file__).parent / "explored.yaml").read_text())
    yield from _rules(told["rules"], told["fields"])
    yield from _forms(told["forms"])
    add = Script("explored")
    for one in told["requests"]:
        kinds = {"type": one.get("type", ""), "accept": one.get("accept", "")}
        add(one["id"], one["method"], one["path"], one.get("body"), **kinds)
    yield from add.steps
    add = Script("gadgets")
    definition = told["definition"]
    (version,) = definition["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = told["properties"]
    add("define", "POST", DEFINITIONS, definition)
    name = definition["metadata"]["name"]
    add("served", "GET", f"{DEFINITIONS}?watch=true&timeoutSeconds=5&fieldSelector=metadata.name%3D{name}", events=2)
    add("make", "POST", GADGETS, _gadget(told["object"]))
    turn = 0
    for field, schema in told["properties"].items():
        texts = schema.get("type") == "string" and "format" in schema
        for value in (*told["values"], *told["own"].get(field, ())):
            if not (texts and isinstance(value, list | dict)):  # upstream then gives up who owns what
                _request(add, field, value, told["object"], turn)
                turn += 1
    yield from add.steps


def _rules(rules: list[str], fields: dict[str, Any]) -> Iterator[Step]:
    add = Script("expressions")
    for number, rule in enumerate(rules):
        spec = {"type": "object", "x-kubernetes-validations": [{"rule": rule}], "properties": fields}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        add(f"rule-{number}", "POST", f"{DEFINITIONS}?dryRun=All", _definition(f"r{number}s", schema))
    return iter(add.steps)


SHAPES: dict[str, Callable[[Any], Any]] = {
    "items": lambda form: form,
    "additionalProperties": lambda form: form,
    "additionalItems": lambda form: form,
    "not": lambda form: form,
    "allOf": lambda form: [form],
    "properties": lambda form: {"q": form},
    "dependencies": lambda form: {"a": form},
}
"""Fields of a schema, and what they are set to."""


def _forms(forms: list[Any]) -> Iterator[Step]:
    add = Script("forms")
    for field, shape in SHAPES.items():
        for number, form in enumerate(forms):
            spec = {"type": "array" if field == "items" else "object", field: shape(copy.deepcopy(form))}
            schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
            strict = "&fieldValidation=Strict" if number % 2 == 0 else ""
            add(f"{field.lower()}-{number}", "POST", f"{DEFINITIONS}?dryRun=All{strict}", _definition("forms", schema))
    return iter(add.steps)


def _definition(plural: str, schema: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{{ns}}.example.org"},
        "spec": {
            "group": "{ns}.example.org",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural[:-1].title()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def _gadget(spec: dict[str, Any], name: str = "a") -> dict[str, Any]:
    metadata = {"name": name}
    return {"apiVersion": "{ns}.gadgets.example.org/v1", "kind": "Gadget", "metadata": metadata, "spec": spec}


def _request(add: Script, field: str, value: Any, ordinary: dict[str, Any], turn: int) -> None:
    verb = TURNS[turn % len(TURNS)]
    strict = "&fieldValidation=Strict" if turn % 3 == 0 else ""
    id, one = f"{field.lower()}-{turn}-{verb}", f"{GADGETS}/a?dryRun=All{strict}"
    spec = {**copy.deepcopy(ordinary), field: value}
    match verb:
        case "create":
            add(id, "POST", f"{GADGETS}?dryRun=All{strict}", _gadget(spec, "b"))
        case "put":
            add(id, "PUT", one, _gadget(spec))
        case "merge":
            add(id, "PATCH", one, {"spec": {field: value}}, type=MERGE)
        case "apply":
            applied = _gadget({"s": ordinary["s"], field: value})
            add(id, "PATCH", f"{one}&fieldManager=x&force=true", applied, type=APPLY)
        case _:
            add(id, "PATCH", one, [{"op": "add", "path": f"/spec/{field}", "value": value}], type=JSON_PATCH)
