"""script/bench customs: what rules in CEL make writes of custom objects cost.

The same definition without rules, with five as operators have them, and with one over each element of a list (20 of them);
clients in the server's process, on the store in memory: nothing but the server's own work. CPU, the least of --runs runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.report import Report, write_json
from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.machinery.types import GroupResource
from navarch.testing.inside import api_server, until

GROUP = "bench.example.com"
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False)
RULES = [
    {"rule": "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas", "message": "replicas in bounds"},
    {"rule": "!has(self.name) || self.name.startsWith('app-')"},
    {"rule": "self.hosts.all(host, host.size() <= 63 && host.matches('^[a-z0-9.-]+$'))"},
    {
        "rule": "self.mode != 'fixed' || self.minReplicas == self.maxReplicas",
        "messageExpression": "'mode ' + self.mode",
    },
    {"rule": "self.class == oldSelf.class", "message": "class is immutable"},
]
EACH_RULE = [{"rule": "self.weight >= 0 && self.weight <= 100 && self.key != ''"}]


def definition(plural: str, rules: list[Any], each: list[Any]) -> dict[str, Any]:
    text, number = {"type": "string", "maxLength": 63}, {"type": "integer"}
    item = {"type": "object", "properties": {"key": text, "weight": number}}
    names = {"name": text, "mode": text, "class": text}
    counts = {"replicas": number, "minReplicas": number, "maxReplicas": number}
    lists = {
        "hosts": {"type": "array", "maxItems": 20, "items": text},
        "items": {
            "type": "array",
            "maxItems": 50,
            "items": item | ({"x-kubernetes-validations": each} if each else {}),
        },
    }
    spec: dict[str, Any] = {"type": "object", "properties": names | counts | lists}
    if rules:
        spec["x-kubernetes-validations"] = rules
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    kind = plural[:-1].capitalize()
    return {
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def custom(plural: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": "app-one", "mode": "auto", "class": "gold", "replicas": 3}
    spec |= {"minReplicas": 1, "maxReplicas": 5, "hosts": [f"host-{n}.example.com" for n in range(5)]}
    spec["items"] = [{"key": f"key-{n}", "weight": n} for n in range(20)]
    kind = plural[:-1].capitalize()
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


async def writes(server: ApiServer, plural: str, run: int, count: int) -> tuple[float, float]:
    """CPU us of a create, and of an update."""
    resource = Resource(GROUP, "v1", plural)
    client, made = server.system, list[Any]()
    began = time.process_time()
    for number in range(count):
        made.append(await client.create(resource, custom(plural, f"run-{run}-{number}"), "default"))
    created = time.process_time() - began
    began = time.process_time()
    for obj in made:
        await client.update(resource, {**obj, "spec": {**obj["spec"], "replicas": 4}}, "default")
    return created / count * 1e6, (time.process_time() - began) / count * 1e6


async def measure(report: Report, runs: int, count: int) -> None:
    variants = {"plains": ([], []), "ruleds": (RULES, []), "eaches": (RULES, EACH_RULE)}
    words = {"plains": "no rules", "ruleds": "five rules", "eaches": "five, and one over 20 elements"}
    async with api_server() as server:
        for plural, (rules, each) in variants.items():
            await server.system.create(DEFINITIONS, definition(plural, rules, each))
            await until(f"{plural} are served", lambda it=plural: GroupResource(GROUP, it) in server.registries)
        least: dict[str, tuple[float, float]] = {}
        for run in range(runs):
            for plural in variants:
                found = await writes(server, plural, run, count)
                before = least.get(plural, found)
                least[plural] = min(before[0], found[0]), min(before[1], found[1])
        plain = least["plains"]
        for plural, (create, update) in least.items():
            ratios = round(create / plain[0], 2), round(update / plain[1], 2)
            report.add(words[plural], round(create), ratios[0], round(update), ratios[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench customs", description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("Custom objects (at most 3 times)", ["what", "create us", "ratio", "update us", "ratio"])
    report.begin()
    uvloop.run(measure(report, options.runs, options.count))
    write_json(options.json, [report])


if __name__ == "__main__":
    main()
