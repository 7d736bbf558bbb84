"""Every kind through every verb: one ordinary object each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.differential.steps import (
    APPLY,
    JSON_PATCH,
    MERGE,
    PARTIAL,
    PARTIALS,
    PROTOBUF,
    STRATEGIC,
    TABLE,
    YAML,
    Script,
    Step,
)

NOT_FIELDS = {"plural", "scope", "status", "name", "area"}
CSR = (Path(__file__).parent / "request.b64").read_text().strip()


KINDS = Path(__file__).parent / "kinds.yaml"


def steps() -> Iterator[Step]:
    """The kinds in the order of kinds.yaml."""
    for entry in yaml.safe_load(KINDS.read_text()):
        yield from Example(entry).steps()


class Example:
    """An ordinary object of a kind, and where it is."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.script = Script(entry.get("area", entry["plural"]))
        self.cluster = entry.get("scope") == "Cluster"
        self.name: str = entry.get("name", "{ns}-x" if self.cluster else "x")
        self.status: Any = entry.get("status")
        api = entry["apiVersion"]
        root = f"/apis/{api}" if "/" in api else f"/api/{api}"
        self.path = f"{root}/{entry['plural']}" if self.cluster else f"{root}/namespaces/{{ns}}/{entry['plural']}"
        self.all = f"{root}/{entry['plural']}"
        self.named = f"{self.path}/{self.name}"
        tree = json.loads(
            json.dumps({k: v for k, v in entry.items() if k not in NOT_FIELDS}).replace('"CSR"', f'"{CSR}"')
        )
        self.type = {"apiVersion": api, "kind": entry["kind"]}
        self.object = {
            **self.type,
            "metadata": {"name": self.name, "labels": {"diff": "{ns}." + self.script.area}},
            **tree,
        }
        self.selected = f"labelSelector=diff={{ns}}.{self.script.area}"

    def steps(self) -> list[Step]:
        self._creates()
        self._reads()
        self._patches()
        self._updates()
        self._deletes()
        return self.script.steps

    def _with(self, **metadata: Any) -> dict[str, Any]:
        labels = self.object["metadata"]["labels"]
        return {**self.object, "metadata": {"labels": labels, **metadata}}

    def _creates(self) -> None:
        add, path = self.script, self.path
        add("create", "POST", path, self.object)
        add("create-again", "POST", path, self.object)
        add("create-generated", "POST", path + "?dryRun=All", self._with(generateName="gen-"))
        add("create-empty", "POST", path, {**self.type, "metadata": {"name": "{ns}-empty"}})
        add("create-nameless", "POST", path, self._with())
        add("create-bad-name", "POST", path, self._with(name="Bad_Name/"))
        add("create-wrong-kind", "POST", path, {**self.object, "kind": "Nothing"})
        unknown = {
            **self._with(name="{ns}-unknown"),
            "nofield": 1,
            "spec": {**(self.object.get("spec") or {}), "no": 2},
        }
        add("create-strict", "POST", path + "?fieldValidation=Strict", unknown)
        add("create-warn", "POST", path + "?fieldValidation=Warn&dryRun=All", unknown)

    def _reads(self) -> None:
        add, named = self.script, self.named
        add("get", "GET", named)
        add("get-table", "GET", named, accept=TABLE)
        add("get-partial", "GET", named, accept=PARTIAL)
        add("get-yaml", "GET", named, accept=YAML)
        add("get-protobuf", "GET", named, accept=PROTOBUF)
        add("get-missing", "GET", self.path + "/missing")
        add("list", "GET", f"{self.path}?{self.selected}")
        add("list-table", "GET", f"{self.path}?{self.selected}", accept=TABLE)
        add("list-table-object", "GET", f"{self.path}?{self.selected}&includeObject=None", accept=TABLE)
        add("list-partials", "GET", f"{self.path}?{self.selected}", accept=PARTIALS)
        add("list-all-namespaces", "GET", f"{self.all}?{self.selected}&fieldSelector=metadata.name={self.name}")
        add("list-bad-field", "GET", f"{self.path}?fieldSelector=spec.nofield=x")
        add("watch", "GET", f"{self.path}?watch=true&resourceVersion=0&{self.selected}", events=1)

    def _patches(self) -> None:
        add, named = self.script, self.named
        add("patch-merge", "PATCH", named, {"metadata": {"labels": {"patched": "merge"}}}, type=MERGE)
        test = [{"op": "test", "path": "/metadata/name", "value": "no"}]
        add("patch-json-test", "PATCH", named, test, type=JSON_PATCH)
        add_one = [{"op": "add", "path": "/metadata/annotations", "value": {"patched": "json"}}]
        add("patch-json", "PATCH", named, add_one, type=JSON_PATCH)
        add("patch-strategic", "PATCH", named, {"metadata": {"annotations": {"more": "s"}}}, type=STRATEGIC)
        add("patch-name", "PATCH", named, {"metadata": {"name": "other"}}, type=MERGE)
        add("patch-missing", "PATCH", self.path + "/missing", {"metadata": {"labels": {"a": "b"}}}, type=MERGE)
        applied = {**self.type, "metadata": {"name": self.name, "labels": {"applied": "yes"}}}
        add("apply", "PATCH", f"{named}?fieldManager=applier", applied, type=APPLY)
        stolen = {**applied, "metadata": {"name": self.name, "labels": {"patched": "applied"}}}
        add("apply-conflict", "PATCH", f"{named}?fieldManager=applier", stolen, type=APPLY)

    def _updates(self) -> None:
        add, named = self.script, self.named
        add("put-stale", "PUT", named, self._with(name=self.name, resourceVersion="1"))
        add("put-other-name", "PUT", named, self._with(name="other"))
        add("put-other-uid", "PUT", named, self._with(name=self.name, uid="11111111-1111-1111-1111-111111111111"))
        add("put-missing", "PUT", self.path + "/missing", self._with(name="missing"))
        add("put-unconditional", "PUT", named, self._with(name=self.name))
        area = self.script.area
        version = f"{{{area}/put-get:metadata.resourceVersion}}"
        add("put-get", "GET", named)
        changed = self._with(name=self.name, resourceVersion=version, annotations={"put": "yes"})
        add("put", "PUT", named, changed)
        add("status-get", "GET", named + "/status")
        if self.status is None:
            return
        add("status-get-current", "GET", named)
        version = f"{{{area}/status-get-current:metadata.resourceVersion}}"
        status = {**self._with(name=self.name, resourceVersion=version), "status": self.status}
        add("status-put", "PUT", named + "/status", status)
        add("status-patch", "PATCH", named + "/status", {"metadata": {"annotations": {"s": "t"}}}, type=MERGE)
        add("after-status-table", "GET", named, accept=TABLE)

    def _deletes(self) -> None:
        add, named = self.script, self.named
        add("delete-dry", "DELETE", named + "?dryRun=All")
        other = {"preconditions": {"uid": "11111111-1111-1111-1111-111111111111"}}
        add("delete-other-uid", "DELETE", named, other)
        add("delete", "DELETE", named)
        add("delete-after", "GET", named)
        add("delete-missing", "DELETE", self.path + "/missing")
        add("create-for-collection", "POST", self.path, self.object)
        add("delete-collection", "DELETE", f"{self.path}?{self.selected}")
