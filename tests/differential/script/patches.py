"""JSON, merge and strategic merge patches: every operation and directive, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.steps import JSON_PATCH, MERGE, STRATEGIC, Script, Step

MAP = "/api/v1/namespaces/{ns}/configmaps/pm"
WORK = "/apis/apps/v1/namespaces/{ns}/deployments/pd"
SERVICE = "/api/v1/namespaces/{ns}/services/ps"


def steps() -> Iterator[Step]:
    for part in (_json, _merge, _strategic, _lists, _orders, _misfits):
        yield from part()


def _json() -> list[Step]:
    add = Script("patch-json")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pm", "finalizers": ["x.io/a", "x.io/b"]}}
    add("create", "POST", "/api/v1/namespaces/{ns}/configmaps", {**made, "data": {"a": "1"}})

    def send(id: str, *operations: Any) -> None:
        add(id, "PATCH", MAP, list(operations), type=JSON_PATCH)

    def op(name: str, path: Any = None, **more: Any) -> dict[str, Any]:
        return {"op": name, **({} if path is None else {"path": path}), **more}

    send("empty")
    send("add", op("add", "/data/d", value="4"))
    send("annotate", op("add", "/metadata/annotations", value={"x.io/b": "1"}))
    send("escapes", op("replace", "/metadata/annotations/x.io~1b", value="5"))
    send("escaped-tilde", op("add", "/data/~0", value="6"))
    send("add-deep", op("add", "/metadata/labels/x", value="y"))
    send("add-map", op("add", "/metadata/labels", value={"x": "y"}))
    send("append", op("add", "/metadata/finalizers/-", value="x.io/c"))
    send("insert", op("add", "/metadata/finalizers/1", value="x.io/d"))
    send("insert-far", op("add", "/metadata/finalizers/9", value="x.io/d"))
    send("negative", op("add", "/metadata/finalizers/-1", value="x.io/e"))
    send("remove-negative", op("remove", "/metadata/finalizers/-1"))
    send("remove-text-index", op("remove", "/metadata/finalizers/x"))
    send("remove-missing", op("remove", "/data/none"))
    send("replace-missing", op("replace", "/data/none", value="1"))
    send("test", op("test", "/data/a", value="1"), op("remove", "/data/a"))
    send("test-fails", op("test", "/data/d", value="5"))
    send("test-null", op("test", "/data/none", value=None))
    send("test-no-value", op("test", "/data/d"))
    send("move", op("move", "/data/m", **{"from": "/data/d"}))
    send("copy", op("copy", "/data/n", **{"from": "/data/m"}))
    send("move-missing", op("move", "/data/m", **{"from": "/data/none"}))
    send("null", op("add", "/data/z", value=None))
    send("no-value", op("add", "/data/z"))
    send("no-path", op("add", value="1"))
    send("no-slash", op("add", "data", value="1"))
    send("no-op", {"path": "/data/a"})
    send("unknown-op", op("merge", "/data/a", value="1"))
    send("no-object", 5)
    send("root", op("replace", "", value={}))
    send("root-list", op("replace", "", value=[1]))
    send("wrong-type", op("add", "/data", value=[1]))
    send("unknown-field", op("add", "/foo", value=1))
    send("name", op("replace", "/metadata/name", value="other"))
    send("many", *[op("test", "/data/m", value="4")] * 10001)
    add("object", "PATCH", MAP, {"op": "add"}, type=JSON_PATCH)
    add("nonsense", "PATCH", MAP, "nonsense", type=JSON_PATCH)
    add("nothing", "PATCH", MAP, "", type=JSON_PATCH)
    add("missing", "PATCH", MAP + "x", [], type=JSON_PATCH)
    return add.steps


def _merge() -> list[Step]:
    add = Script("patch-merge")

    def send(id: str, body: Any, query: str = "") -> None:
        add(id, "PATCH", MAP + query, body, type=MERGE)

    send("empty", {})
    send("null", {"data": {"m": None, "none": None}})
    send("replace-map", {"data": None})
    send("list", {"metadata": {"finalizers": ["x.io/z"]}})
    send("number", {"data": {"a": 1}})
    send("array", [1])
    send("text", '"x"')
    send("null-body", "null")
    send("nonsense", "{")
    send("unknown", {"foo": 1})
    send("unknown-strict", {"foo": 1, "metadata": {"bar": 1}}, "?fieldValidation=Strict")
    send("duplicate-warn", '{"data":{"x":"1","x":"2"}}')
    send("duplicate-strict", '{"data":{"x":"1","x":"2"}}', "?fieldValidation=Strict")
    send("kind", {"kind": "Secret"})
    send("version", {"apiVersion": "v2"})
    send("revision", {"metadata": {"resourceVersion": "1"}})
    send("namespace", {"metadata": {"namespace": "other"}})
    send("immutable", {"metadata": {"uid": "x"}})
    send("created", {"metadata": {"creationTimestamp": None, "generation": 7}})
    send("finalizers", {"metadata": {"finalizers": None}})
    return add.steps


def _strategic() -> list[Step]:
    add = Script("patch-strategic")
    labels = {"app": "x"}
    containers = [
        {"name": "a", "image": "a", "args": ["1"], "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]},
        {"name": "b", "image": "b", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
        {"name": "c", "image": "c"},
    ]
    spec = {"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {"n": "1"}}
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "pd"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    add("create", "POST", "/apis/apps/v1/namespaces/{ns}/deployments", made)

    def send(id: str, spec: Any, **more: Any) -> None:
        add(id, "PATCH", WORK, {"spec": {"template": {"spec": spec}, **more}}, type=STRATEGIC)

    send("empty", {})
    send("item", {"containers": [{"name": "b", "image": "z"}]})
    send("new-item", {"containers": [{"name": "d", "image": "d"}]})
    send("delete-item", {"containers": [{"name": "d", "$patch": "delete"}]})
    send("delete-missing", {"containers": [{"name": "q", "$patch": "delete"}]})
    send("no-key", {"containers": [{"image": "z"}]})
    send("atomic", {"containers": [{"name": "a", "args": ["2", "3"]}]})
    send("env", {"containers": [{"name": "a", "env": [{"name": "F", "value": "9"}, {"name": "G", "value": "3"}]}]})
    send(
        "env-from",
        {
            "containers": [
                {
                    "name": "a",
                    "env": [{"name": "F", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                }
            ]
        },
    )
    send("ports", {"containers": [{"name": "b", "ports": [{"containerPort": 81, "name": "x"}]}]})
    send("replace-map", {"nodeSelector": {"$patch": "replace", "m": "2"}})
    send("delete-map", {"nodeSelector": {"$patch": "delete"}})
    send("replace-list", {"volumes": [{"name": "w", "emptyDir": {}}, {"$patch": "replace"}]})
    send("retain", {"volumes": [{"name": "w", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}]})
    send("retain-bad", {"volumes": [{"name": "w", "$retainKeys": ["name"], "configMap": {"name": "m"}}]})
    send("retain-no-list", {"volumes": [{"name": "w", "$retainKeys": "name"}]})
    send("strategy", {}, strategy={"$retainKeys": ["type"], "type": "Recreate"})
    send("strategy-null", {}, strategy={"type": "RollingUpdate", "rollingUpdate": None})
    send("unknown-directive", {"containers": [{"name": "a", "$patch": "append"}]})
    send("unknown-map-directive", {"nodeSelector": {"$patch": "append"}})
    send("merge-directive", {"containers": [{"name": "a", "$patch": "merge"}]})
    send("null-list", {"volumes": None})
    send("null-item", {"containers": [None]})
    return add.steps


def _lists() -> list[Step]:
    add = Script("patch-primitives")

    def send(id: str, metadata: Any) -> None:
        add(id, "PATCH", MAP, {"metadata": metadata}, type=STRATEGIC)

    send("merge", {"finalizers": ["x.io/a", "x.io/b", "x.io/a"]})
    send("again", {"finalizers": ["x.io/c", "x.io/b"]})
    send("delete", {"$deleteFromPrimitiveList/finalizers": ["x.io/b", "x.io/q"]})
    send("delete-and-add", {"$deleteFromPrimitiveList/finalizers": ["x.io/a"], "finalizers": ["x.io/d"]})
    send("order", {"$setElementOrder/finalizers": ["x.io/d", "x.io/c"]})
    send("order-and-add", {"$setElementOrder/finalizers": ["x.io/e", "x.io/d", "x.io/c"], "finalizers": ["x.io/e"]})
    send("order-disagrees", {"$setElementOrder/finalizers": ["x.io/d", "x.io/e"], "finalizers": ["x.io/e", "x.io/d"]})
    send("no-field", {"$deleteFromPrimitiveList": ["x.io/a"]})
    send("no-list", {"$deleteFromPrimitiveList/finalizers": "x.io/a"})
    send("order-no-list", {"$setElementOrder/finalizers": "x.io/a"})
    send("owners", {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}]})
    send("owners-more", {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "u2"}]})
    send("owners-delete", {"ownerReferences": [{"uid": "u1", "$patch": "delete"}]})
    send("all", {"finalizers": None, "ownerReferences": None})
    return add.steps


def _orders() -> list[Step]:
    add = Script("patch-order")

    def send(id: str, spec: Any) -> None:
        add(id, "PATCH", WORK, {"spec": {"template": {"spec": spec}}}, type=STRATEGIC)

    def order(*names: str) -> list[Any]:
        return [{"name": name} for name in names]

    send("reorder", {"$setElementOrder/containers": order("c", "a", "b")})
    send(
        "with-new",
        {"$setElementOrder/containers": order("c", "n", "a", "b"), "containers": [{"name": "n", "image": "n"}]},
    )
    send("partly", {"$setElementOrder/containers": order("b", "c")})
    send(
        "delete",
        {"$setElementOrder/containers": order("c", "a", "b"), "containers": [{"name": "n", "$patch": "delete"}]},
    )
    send("unknown-item", {"$setElementOrder/containers": order("zz", "a")})
    send("missing-in-order", {"$setElementOrder/containers": order("a"), "containers": [{"name": "b", "image": "bb"}]})
    send("absent-list", {"$setElementOrder/hostAliases": [{"ip": "1.1.1.1"}]})
    return add.steps


def _misfits() -> list[Step]:
    add = Script("patch-misfits")
    made = {"metadata": {"name": "ps"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}}
    add("create", "POST", "/api/v1/namespaces/{ns}/services", made)

    def send(id: str, body: Any, query: str = "") -> None:
        add(id, "PATCH", SERVICE + query, body, type=STRATEGIC)

    send("ports", {"spec": {"ports": [{"port": 2, "name": "z"}]}})
    send("ports-delete", {"spec": {"ports": [{"port": 1, "$patch": "delete"}]}})
    send("unknown", {"foo": 1})
    send("unknown-map", {"foo": {"a": 1}})
    send("unknown-deep", {"spec": {"foo": 1}})
    send("unknown-strict", {"spec": {"foo": 1}}, "?fieldValidation=Strict")
    send("duplicate-strict", '{"spec":{"type":"ClusterIP","type":"ClusterIP"}}', "?fieldValidation=Strict")
    send("list-for-map", {"spec": [1]})
    send("map-for-list", {"spec": {"ports": {"a": 1}}})
    send("text-for-list", {"spec": {"ports": "x"}})
    send("text-for-map", {"spec": "x"})
    send("texts-in-list", {"spec": {"ports": ["x"]}})
    send("number-for-text", {"spec": {"type": 5}})
    send("array", [1])
    send("text", '"x"')
    send("null-body", "null")
    send("nonsense", "{")
    send("replace-all", {"$patch": "replace", "metadata": {"name": "ps"}})
    send("delete-all", {"$patch": "delete"})
    add("put-no-name", "PUT", SERVICE, {"metadata": {}, "spec": {"ports": [{"port": 1}]}})
    add("unknown-type", "PATCH", SERVICE, {}, type="application/json")
    add("no-type", "PATCH", SERVICE, b"{}", headers={"Content-Type": ""})
    return add.steps
