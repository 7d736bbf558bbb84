"""Server-side apply and the owners of fields: what a configuration makes of objects, and who owns what after each write.

Steps of one object stand in one order in time: where the order of managers depends on seconds, they are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.steps import APPLY, JSON_PATCH, MERGE, STRATEGIC, Script, Step

MAPS = "/api/v1/namespaces/{ns}/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments"
SERVICES = "/api/v1/namespaces/{ns}/services"
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def steps() -> Iterator[Step]:
    for part in (_maps, _deployment, _scale, _lists, _refusals, _resets, _client_side, _status, _versions):
        yield from part()


def _map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _workload(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": "x"}
    container = {
        "name": "c",
        "image": "nginx",
        "ports": [{"containerPort": 443, "protocol": "TCP"}, {"containerPort": 80}],
        "env": [{"name": "A", "value": "b"}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def _maps() -> list[Step]:
    add = Script("apply-maps")
    at = MAPS + "/m?fieldManager="
    add("create", "PATCH", at + "one", _map("m", a="1", b="2"), type=APPLY)
    add("again", "PATCH", at + "one", _map("m", a="1", b="2"), type=APPLY)
    add("second-same", "PATCH", at + "two", _map("m", a="1"), type=APPLY)
    add("conflict", "PATCH", at + "two", _map("m", a="9"), type=APPLY)
    add("conflicts", "PATCH", at + "three", _map("m", a="9", b="9", c="3"), type=APPLY)
    add("force", "PATCH", at + "two&force=true", _map("m", a="9"), type=APPLY)
    add("dropped", "PATCH", at + "one", _map("m"), type=APPLY)
    add("dropped-all", "PATCH", at + "two", {**_map("m"), "data": None}, type=APPLY)
    add("merge", "PATCH", at + "hand", {"data": {"h": "1", "i": "2"}}, type=MERGE)
    add("json", "PATCH", at + "hand", [{"op": "remove", "path": "/data/h"}], type=JSON_PATCH)
    add("no-change", "PATCH", at + "idle", {"data": {"i": "2"}}, type=MERGE)
    add("takes-over", "PATCH", at + "other", {"data": {"i": "3"}}, type=MERGE)
    add("conflict-update", "PATCH", at + "one", _map("m", i="4"), type=APPLY)
    add("dry", "PATCH", at + "one&dryRun=All", _map("m", z="1"), type=APPLY)
    add("dry-create", "PATCH", MAPS + "/none?fieldManager=one&dryRun=All", _map("none", z="1"), type=APPLY)
    add("dry-gone", "GET", MAPS + "/none")
    add("agent", "PATCH", MAPS + "/m", {"data": {"j": "2"}}, type=MERGE, headers={"User-Agent": "kubectl-x/v1 (a/b)"})
    add("put", "PUT", MAPS + "/m?fieldManager=putter", _map("m", k="5"))
    add("delete", "DELETE", MAPS + "/m")
    return add.steps


def _deployment() -> list[Step]:
    add = Script("apply-deployment")
    at = DEPLOYMENTS + "/d?fieldManager="
    add("create", "POST", DEPLOYMENTS + "?fieldManager=kubectl-create", _workload("d", replicas=2))
    add("apply", "PATCH", at + "a1", _workload("d", replicas=2), type=APPLY)
    strategic = {
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}, {"name": "s", "image": "s"}]}}}
    }
    add("strategic", "PATCH", at + "kubectl-edit", strategic, type=STRATEGIC)
    add("conflict", "PATCH", at + "a1", _workload("d", replicas=2), type=APPLY)
    add("force", "PATCH", at + "a1&force=true", _workload("d", replicas=2), type=APPLY)
    changed = _workload("d")
    changed["spec"]["template"]["spec"]["containers"][0].pop("ports")
    changed["metadata"].pop("labels")
    add("less", "PATCH", at + "a1", changed, type=APPLY)
    changed["spec"]["template"]["spec"]["containers"].append({"name": "t", "image": "t", "command": ["a", "b"]})
    changed["spec"]["template"]["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    changed["spec"]["template"]["spec"]["nodeSelector"] = {"a": "b"}
    add("more", "PATCH", at + "a1", changed, type=APPLY)
    changed["spec"]["template"]["spec"]["containers"][1]["command"] = ["a", "c"]
    add("atomic", "PATCH", at + "a2", changed, type=APPLY)
    add("null", "PATCH", at + "a3", {**_workload("d"), "spec": {"paused": None, "replicas": None}}, type=APPLY)
    add(
        "no-name",
        "PATCH",
        at + "a4",
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"paused": True}},
        type=APPLY,
    )
    create = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}
    add("create-no-name", "PATCH", DEPLOYMENTS + "/n?fieldManager=a", create, type=APPLY)
    add("create-invalid", "PATCH", DEPLOYMENTS + "/n?fieldManager=a", {**create, "metadata": {"name": "n"}}, type=APPLY)
    stale = {**_workload("d"), "metadata": {"name": "d", "resourceVersion": "1"}}
    add("stale", "PATCH", at + "a1", stale, type=APPLY)
    other = {**_workload("d"), "metadata": {"name": "d", "uid": "11111111-1111-1111-1111-111111111111"}}
    add("other-uid", "PATCH", at + "a1", other, type=APPLY)
    add(
        "other-namespace",
        "PATCH",
        at + "a1",
        {**_workload("d"), "metadata": {"name": "d", "namespace": "x"}},
        type=APPLY,
    )
    return add.steps


def _scale() -> list[Step]:
    add = Script("apply-scale")
    add("create", "PATCH", DEPLOYMENTS + "/s?fieldManager=a", _workload("s", replicas=1), type=APPLY)
    at = DEPLOYMENTS + "/s/scale?fieldManager="
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "s"}}
    add("conflict", "PATCH", at + "b", {**scale, "spec": {"replicas": 3}}, type=APPLY)
    add("same", "PATCH", at + "b", {**scale, "spec": {"replicas": 1}}, type=APPLY)
    add("same-after", "GET", DEPLOYMENTS + "/s")
    add("force", "PATCH", at + "b&force=true", {**scale, "spec": {"replicas": 3}}, type=APPLY)
    add("force-after", "GET", DEPLOYMENTS + "/s")
    add("merge", "PATCH", at + "c", {"spec": {"replicas": 4}}, type=MERGE)
    add("merge-after", "GET", DEPLOYMENTS + "/s")
    add("put", "PUT", at + "e", {**scale, "metadata": {"name": "s", "namespace": "{ns}"}, "spec": {"replicas": 5}})
    add("put-after", "GET", DEPLOYMENTS + "/s")
    add("wrong-kind", "PATCH", at + "b", _workload("s"), type=APPLY)
    add("unknown", "PATCH", at + "b", {**scale, "spec": {"x": 3}}, type=APPLY)
    add("negative", "PATCH", at + "b&force=true", {**scale, "spec": {"replicas": -3}}, type=APPLY)
    add("none", "PATCH", DEPLOYMENTS + "/none/scale?fieldManager=a", {**scale, "metadata": {}}, type=APPLY)
    return add.steps


def _lists() -> list[Step]:
    add = Script("apply-lists")
    at = SERVICES + "/v?fieldManager="

    def service(*ports: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        meta = {"name": "v", **metadata}
        return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": list(ports)}}

    a, b, c = ({"name": name, "port": port} for name, port in (("a", 1), ("b", 22), ("c", 3)))
    add("create", "PATCH", at + "one", service(a, b), type=APPLY)
    add("second", "PATCH", at + "two", service(c, finalizers=["x.io/a"]), type=APPLY)
    add("set", "PATCH", at + "three", service(finalizers=["x.io/b", "x.io/a"]), type=APPLY)
    add("order", "PATCH", at + "one", service(b, a), type=APPLY)
    add("duplicate", "PATCH", at + "one", service(a, {**a, "name": "d"}), type=APPLY)
    add("duplicate-set", "PATCH", at + "one", service(a, finalizers=["x.io/b", "x.io/b"]), type=APPLY)
    add("no-key", "PATCH", at + "one", service({"name": "a"}), type=APPLY)
    add("less-set", "PATCH", at + "three", service(), type=APPLY)
    add("less", "PATCH", at + "one", service(b), type=APPLY)
    add("edit", "PATCH", at + "hand", [{"op": "replace", "path": "/spec/ports/0/name", "value": "z"}], type=JSON_PATCH)
    add("owners", "PATCH", at + "hand", {"metadata": {"finalizers": None}}, type=MERGE)
    return add.steps


def _refusals() -> list[Step]:
    add = Script("apply-refusals")
    good = _workload("r")
    at = DEPLOYMENTS + "/r?fieldManager=m"

    def send(id: str, body: Any, path: str = at) -> None:
        add(id, "PATCH", path, body, type=APPLY)

    send("no-manager", good, DEPLOYMENTS + "/r")
    send("long-manager", good, DEPLOYMENTS + "/r?fieldManager=" + "m" * 129)
    send("bad-manager", good, DEPLOYMENTS + "/r?fieldManager=a%0Ab")
    send("unknown", {**good, "spec": {"foo": 1}})
    send("unknown-deep", {**good, "spec": {"template": {"spec": {"containers": [{"name": "c", "foo": 1}]}}}})
    send("number", {**good, "spec": {"replicas": "x"}})
    send("text", {**good, "spec": {"template": {"spec": {"dnsPolicy": 1}}}})
    send("boolean", {**good, "spec": {"paused": "x"}})
    send("list", {**good, "spec": {"template": {"spec": {"volumes": 5}}}})
    send("list-map", {**good, "spec": {"template": {"spec": {"volumes": {"a": "b"}}}}})
    send("map", {**good, "spec": [1]})
    send("map-text", {**good, "metadata": "x"})
    send("atomic", {**good, "spec": {"template": {"spec": {"tolerations": [{"foo": 1}]}}}})
    send("no-item-key", {**good, "spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}})
    send("managed", {**good, "metadata": {"name": "r", "managedFields": []}})
    send("managed-entry", {**good, "metadata": {"name": "r", "managedFields": [{"manager": "x"}]}})
    send("managed-null", {**good, "metadata": {"name": "r", "managedFields": None}})
    send("no-type", {"metadata": {"name": "r"}, "spec": {}})
    send("no-kind", {"apiVersion": "apps/v1", "metadata": {"name": "r"}})
    send("other-kind", {**good, "kind": "Service"})
    send("other-version", {**good, "apiVersion": "apps/v1beta1"})
    send("other-name", {**good, "metadata": {"name": "q"}})
    send("empty", "")
    send("array", [1])
    send("scalar", "5")
    send("no-yaml", "a: b: c")
    send("tabs", "\ta: b")
    send("null", "null")
    duplicate = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dup\ndata:\n  a: p\n  a: q\n  c: r\n  c: s\n"
    send("duplicates", duplicate, MAPS + "/dup?fieldManager=m")
    send("duplicates-strict", duplicate, MAPS + "/dup?fieldManager=m&fieldValidation=Strict")
    send("duplicates-ignore", duplicate, MAPS + "/dup?fieldManager=m&fieldValidation=Ignore")
    add("cbor", "PATCH", at, b"\xa0", type="application/apply-patch+cbor")
    add("forced-merge", "PATCH", at + "&force=true", {}, type=MERGE)
    add("bad-force", "PATCH", at + "&force=maybe", good, type=APPLY)
    send(
        "pod-unknown",
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}},
        "/api/v1/namespaces/{ns}/pods/p?fieldManager=m",
    )
    return add.steps


def _resets() -> list[Step]:
    add = Script("apply-resets")
    at = MAPS + "/t"
    add("create", "POST", MAPS + "?fieldManager=maker", _map("t", a="1"))
    add("reset", "PATCH", at, {"metadata": {"managedFields": [{}]}}, type=MERGE)
    add("untracked", "PATCH", at + "?fieldManager=x", {"data": {"b": "2"}}, type=MERGE)
    add("first", "PATCH", at + "?fieldManager=one", _map("t", c="3"), type=APPLY)
    add("reset-list", "PATCH", at, {"metadata": {"managedFields": []}}, type=MERGE)
    add("first-taken", "PATCH", at + "?fieldManager=one", _map("t", a="9"), type=APPLY)
    entry = {
        "manager": "sent",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2020-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }
    add("sent", "PATCH", at, {"metadata": {"managedFields": [entry]}}, type=MERGE)
    for name, change in {
        "operation": {"operation": "Delete"},
        "type": {"fieldsType": "FieldsV2"},
        "no-version": {"apiVersion": ""},
        "element": {"fieldsV1": {"x": {}}},
        "unknown-element": {"fieldsV1": {"z:x": {}}},
        "long": {"manager": "m" * 129},
    }.items():
        add(f"sent-{name}", "PATCH", at, {"metadata": {"managedFields": [{**entry, **change}]}}, type=MERGE)
    many = {f"k{number}": "1" for number in range(12)}
    add("many", "POST", MAPS + "?fieldManager=maker", _map("many", x="0"))
    for key in many:
        add(f"many-{key}", "PATCH", f"{MAPS}/many?fieldManager=m-{key}", {"data": {key: "1"}}, type=MERGE)
    gone = {**entry, "apiVersion": "v0"}
    add(
        "create-sent",
        "POST",
        MAPS + "?fieldManager=maker",
        {**_map("sent"), "metadata": {"name": "sent", "managedFields": [gone]}},
    )
    return add.steps


def _client_side() -> list[Step]:
    add = Script("apply-client-side")
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"k"},"data":{"a":"1","b":"2"}}'
    made = {**_map("k", a="1", b="3"), "metadata": {"name": "k", "annotations": {LAST: text}}}
    at = MAPS + "/k?fieldManager=kubectl"
    add("create", "POST", MAPS + "?fieldManager=kubectl-client-side-apply", made)
    add("changed", "PATCH", at, _map("k", a="2"), type=APPLY)
    add("changed-since", "PATCH", at, _map("k", a="3", b="4"), type=APPLY)
    add("other-manager", "PATCH", MAPS + "/k?fieldManager=else", _map("k", b="2"), type=APPLY)
    annotated = {**_map("k", a="5<&"), "metadata": {"name": "k", "annotations": {LAST: "x", "n": "1"}}}
    add("annotated", "PATCH", at + "&force=true", annotated, type=APPLY)
    return add.steps


def _status() -> list[Step]:
    add = Script("apply-status")
    add("create", "PATCH", DEPLOYMENTS + "/st?fieldManager=a", _workload("st", replicas=1), type=APPLY)
    at = DEPLOYMENTS + "/st/status?fieldManager="
    condition = {"type": "Progressing", "status": "True", "reason": "a", "message": "b"}
    status = {"replicas": 1, "observedGeneration": 1, "conditions": [condition]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "st", "labels": {"z": "1"}},
        "status": status,
    }
    add("apply", "PATCH", at + "s", {**body, "spec": {"replicas": 7}}, type=APPLY)
    add("conflict", "PATCH", at + "t", {**body, "status": {"replicas": 2}}, type=APPLY)
    add("merge", "PATCH", at + "u", {"status": {"replicas": 2}, "metadata": {"annotations": {"a": "b"}}}, type=MERGE)
    add("main", "PATCH", DEPLOYMENTS + "/st?fieldManager=a", {**_workload("st"), "status": {"replicas": 9}}, type=APPLY)
    add("managed", "PATCH", at + "u", {"metadata": {"managedFields": [{}]}}, type=MERGE)
    return add.steps


def _versions() -> list[Step]:
    add = Script("apply-versions")
    events = "/apis/events.k8s.io/v1/namespaces/{ns}/events"
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "{ns}"},
        "reason": "Because",
        "action": "Act",
        "type": "Normal",
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": "x.io/c",
        "reportingInstance": "i",
        "note": "n",
    }
    add("event", "PATCH", events + "/e?fieldManager=a", event, type=APPLY)
    core = "/api/v1/namespaces/{ns}/events"
    add("core-merge", "PATCH", core + "/e?fieldManager=b", {"metadata": {"labels": {"a": "b"}}}, type=MERGE)
    old = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "labels": {"a": "c"}},
        "involvedObject": {"name": "p"},
    }
    add("core-apply", "PATCH", core + "/e?fieldManager=c", old, type=APPLY)
    add(
        "event-less",
        "PATCH",
        events + "/e?fieldManager=a",
        {**event, "metadata": {"name": "e", "labels": {"x": "y"}}},
        type=APPLY,
    )
    return add.steps
