"""Writing: options, preconditions, the four patches, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.script.protocol import MAPS, PODS, named
from tests.differential.steps import (
    APPLY,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    TABLE,
    YAML,
    Script,
    Step,
)


def steps() -> Iterator[Step]:
    for part in (_writes, _patches, _deletes):
        add = Script(part.__name__.strip("_"))
        part(add)
        yield from add.steps


def _writes(add: Script) -> None:
    add("dry", "POST", MAPS + "?dryRun=All", named("dry"))
    add("dry-get", "GET", MAPS + "/dry")
    for value in ("Some", "", "All,All"):
        add(f"dry-{value.replace(',', '-').lower() or 'empty'}", "POST", f"{MAPS}?dryRun={value}", named("dry"))
    add("dry-twice", "POST", MAPS + "?dryRun=All&dryRun=All", named("dry"))
    for name, manager in {"named": "me", "long": "m" * 129, "bad": "a%01b", "empty": ""}.items():
        add(f"manager-{name}", "POST", f"{MAPS}?dryRun=All&fieldManager={manager}", named("dry"))
    add("make", "POST", MAPS, named("written", data={"a": "1"}))
    add("put-dry", "PUT", MAPS + "/written?dryRun=All", named("written", data={"a": "2"}))
    add("put-same", "PUT", MAPS + "/written", named("written", data={"a": "1"}))
    versioned = named("written", data={"a": "3"})
    versioned["metadata"]["resourceVersion"] = "{writes/make:metadata.resourceVersion}"
    add("put-versioned", "PUT", MAPS + "/written", versioned)
    add("put-again", "PUT", MAPS + "/written", {**versioned, "data": {"a": "4"}})
    add("put-nameless", "PUT", MAPS + "/written", {"metadata": {}, "data": {"a": "5"}})
    add("put-bad-version", "PUT", MAPS + "/written", {"metadata": {"name": "written", "resourceVersion": "x"}})
    add("put-zero-version", "PUT", MAPS + "/written", {"metadata": {"name": "written", "resourceVersion": "0"}})
    other = named("written")
    other["metadata"]["namespace"] = "{other}"
    add("put-other-namespace", "PUT", MAPS + "/written", other)
    versioned_new = named("new")
    versioned_new["metadata"]["resourceVersion"] = "5"
    add("create-versioned", "POST", MAPS, versioned_new)
    system = named("system")
    system["metadata"] |= {
        "uid": "11111111-1111-1111-1111-111111111111",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
        "generation": 7,
        "selfLink": "/x",
    }
    add("create-system-fields", "POST", MAPS, system)
    add("generate", "POST", MAPS, {"metadata": {"generateName": "gen-"}})
    add("generate-with-name", "POST", MAPS, {"metadata": {"generateName": "gen-", "name": "generated"}})
    add("generate-bad", "POST", MAPS, {"metadata": {"generateName": "Gen_gen-"}})
    immutable = named("immutable", data={"a": "1"}, immutable=True)
    add("immutable", "POST", MAPS, immutable)
    add("immutable-changed", "PUT", MAPS + "/immutable", {**immutable, "data": {"a": "2"}})
    add("immutable-undone", "PUT", MAPS + "/immutable", {**immutable, "immutable": False})
    add("immutable-labels", "PATCH", MAPS + "/immutable", {"metadata": {"labels": {"a": "b"}}}, type=MERGE)
    add("ignored-status", "POST", MAPS, {**named("with-status"), "status": {"a": "b"}})


def _patches(add: Script) -> None:
    pod = {
        "metadata": {"name": "patched", "labels": {"a": "b"}},
        "spec": {
            "nodeSelector": {"none": "such"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "containers": [
                {"name": "one", "image": "one", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
                {"name": "two", "image": "two"},
            ],
        },
    }
    deployment = {
        "metadata": {"name": "patched"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod["spec"]},
        },
    }
    path = "/apis/apps/v1/namespaces/{ns}/deployments/patched"
    add("make", "POST", path.rpartition("/")[0], deployment)

    def spec(value: Any) -> dict[str, Any]:
        return {"spec": {"template": {"spec": value}}}

    strategic: dict[str, Any] = {
        "container-image": spec({"containers": [{"name": "one", "image": "new"}]}),
        "container-add": spec({"containers": [{"name": "three", "image": "three"}]}),
        "container-delete": spec({"containers": [{"name": "three", "$patch": "delete"}]}),
        "container-order": spec({"$setElementOrder/containers": [{"name": "two"}, {"name": "one"}]}),
        "container-nameless": spec({"containers": [{"image": "x"}]}),
        "env-add": spec({"containers": [{"name": "one", "env": [{"name": "B", "value": "2"}]}]}),
        "env-value-from": spec(
            {"containers": [{"name": "one", "env": [{"name": "A", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}
        ),
        "env-delete": spec({"containers": [{"name": "one", "env": [{"name": "B", "$patch": "delete"}]}]}),
        "ports": spec({"containers": [{"name": "one", "ports": [{"containerPort": 81}]}]}),
        "tolerations": spec({"tolerations": [{"key": "b", "operator": "Exists"}]}),
        "selector-replace": spec({"nodeSelector": {"$patch": "replace", "other": "one"}}),
        "selector-delete": spec({"nodeSelector": None}),
        "strategy-retain": {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": None}}},
        "finalizers": {"metadata": {"finalizers": ["a.example/b"]}},
        "finalizers-delete": {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example/b"]}},
        "replace-all": {"$patch": "replace", "metadata": {"name": "patched"}},
        "bad-directive": {"spec": {"$patch": "nonsense"}},
        "unknown-field": {"spec": {"nofield": 1}},
        "wrong-type": {"spec": {"replicas": "x"}},
        "wrong-list": spec({"containers": {"name": "x"}}),
        "null": None,
        "empty": {},
    }  # fmt: skip
    for name, body in strategic.items():
        add(f"strategic-{name}", "PATCH", path, "null" if body is None else body, type=STRATEGIC)
    for name, text in {
        "scale": '{"spec":{"replicas":3}}',
        "remove": '{"spec":{"replicas":null}}',
        "list": '[{"spec":1}]',
        "text": '"x"',
        "broken": "{",
        "replace-list": '{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"only"}]}}}}',
        "unknown-field": '{"spec":{"nofield":1}}',
        "selector": '{"spec":{"selector":{"matchLabels":{"c":"d"}}}}',
        "kind": '{"kind":"Other"}',
        "version": '{"apiVersion":"apps/v2"}',
        "resource-version": '{"metadata":{"resourceVersion":"1"}}',
        "uid": '{"metadata":{"uid":"11111111-1111-1111-1111-111111111111"}}',
        "namespace": '{"metadata":{"namespace":"other"}}',
        "created": '{"metadata":{"creationTimestamp":"2001-01-01T00:00:00Z"}}',
    }.items():
        add(f"merge-{name}", "PATCH", path, text, type=MERGE)
    for mode in ("Strict", "Warn", "Ignore"):
        add(
            f"merge-unknown-{mode.lower()}",
            "PATCH",
            f"{path}?fieldValidation={mode}&dryRun=All",
            {"spec": {"x": 1}},
            type=MERGE,
        )
    operations: dict[str, Any] = {
        "add": [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}],
        "add-append": [
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "last", "image": "l"}}
        ],
        "replace": [{"op": "replace", "path": "/spec/replicas", "value": 5}],
        "replace-missing": [{"op": "replace", "path": "/spec/nothing", "value": 5}],
        "remove": [{"op": "remove", "path": "/spec/template/spec/containers/1"}],
        "remove-missing": [{"op": "remove", "path": "/metadata/annotations/none"}],
        "index-out": [{"op": "remove", "path": "/spec/template/spec/containers/9"}],
        "test": [{"op": "test", "path": "/spec/replicas", "value": 5}],
        "copy": [{"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/copied"}],
        "move": [{"op": "move", "from": "/metadata/labels/copied", "path": "/metadata/labels/moved"}],
        "escape": [{"op": "add", "path": "/metadata/labels/x.example~1y", "value": "z"}],
        "unknown-op": [{"op": "nonsense", "path": "/spec"}],
        "no-path": [{"op": "add", "value": 1}],
        "bad-path": [{"op": "add", "path": "spec", "value": 1}],
        "parent-missing": [{"op": "add", "path": "/a/b/c", "value": 1}],
        "object": {"op": "add"},
        "empty": [],
        "wrong-type": [{"op": "replace", "path": "/spec/replicas", "value": "x"}],
    }
    for name, body in operations.items():
        add(f"json-{name}", "PATCH", path, body, type=JSON_PATCH)
    add("json-broken", "PATCH", path, "[", type=JSON_PATCH)
    add("json-too-many", "PATCH", path, [{"op": "test", "path": "/kind", "value": "x"}] * 10001, type=JSON_PATCH)
    add("dry", "PATCH", path + "?dryRun=All", {"spec": {"replicas": 9}}, type=MERGE)
    add("force-without-apply", "PATCH", path + "?force=true", {"spec": {"replicas": 9}}, type=MERGE)
    add("result", "GET", path)
    add("apply-without-manager", "PATCH", path, {"apiVersion": "apps/v1", "kind": "Deployment"}, type=APPLY)
    add("apply-broken", "PATCH", path + "?fieldManager=m", "{", type=APPLY)
    add("apply-no-kind", "PATCH", path + "?fieldManager=m", {"metadata": {"name": "patched"}}, type=APPLY)
    managed = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "patched", "managedFields": [{}]}}
    add("apply-managed-fields", "PATCH", path + "?fieldManager=m", managed, type=APPLY)


def _deletes(add: Script) -> None:
    for name in ("a", "b", "c", "d", "e"):
        add(f"make-{name}", "POST", MAPS, named(f"delete-{name}"))
    one = MAPS + "/delete-a"
    for name, body in {
        "bad-json": "{",
        "wrong-kind": {"kind": "Nothing", "apiVersion": "v1"},
        "other-kind": {"kind": "ConfigMap", "apiVersion": "v1"},
        "negative-grace": {"gracePeriodSeconds": -1, "dryRun": ["All"]},
        "bad-propagation": {"propagationPolicy": "Nonsense"},
        "both": {"propagationPolicy": "Orphan", "orphanDependents": True},
        "bad-dry-run": {"dryRun": ["x"]},
        "wrong-version": {"preconditions": {"resourceVersion": "1"}},
        "dry": {"dryRun": ["All"]},
        "unknown": {"nofield": 1, "dryRun": ["All"]},
    }.items():
        add(name, "DELETE", one, body)
    add("query-grace", "DELETE", one + "?gracePeriodSeconds=x")
    add("query-propagation", "DELETE", one + "?propagationPolicy=Nonsense")
    add("yaml", "DELETE", one, "kind: DeleteOptions\napiVersion: v1\ndryRun: [All]\n", type=YAML)
    add(
        "right-version",
        "DELETE",
        one,
        {"preconditions": {"resourceVersion": "{deletes/make-a:metadata.resourceVersion}"}},
    )
    add("right-uid", "DELETE", MAPS + "/delete-b", {"preconditions": {"uid": "{deletes/make-b:metadata.uid}"}})
    add("orphan", "DELETE", MAPS + "/delete-c?propagationPolicy=Orphan")
    add("orphan-after", "GET", MAPS + "/delete-c")
    add("foreground", "DELETE", MAPS + "/delete-d?propagationPolicy=Foreground")
    add("foreground-after", "GET", MAPS + "/delete-d")
    add("foreground-again", "DELETE", MAPS + "/delete-d")
    add("foreground-background", "DELETE", MAPS + "/delete-d?propagationPolicy=Background")
    finalized = named("finalized")
    finalized["metadata"]["finalizers"] = ["example.com/hold"]
    add("finalized", "POST", MAPS, finalized)
    add("finalized-delete", "DELETE", MAPS + "/finalized")
    add("finalized-get", "GET", MAPS + "/finalized")
    add("finalized-again", "DELETE", MAPS + "/finalized")
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    add("finalized-more", "PATCH", MAPS + "/finalized", more, type=MERGE)
    add("finalized-label", "PATCH", MAPS + "/finalized", {"metadata": {"labels": {"a": "b"}}}, type=MERGE)
    add("finalized-release", "PATCH", MAPS + "/finalized", {"metadata": {"finalizers": None}}, type=MERGE)
    add("finalized-gone", "GET", MAPS + "/finalized")
    bad = named("bad-finalizer")
    bad["metadata"]["finalizers"] = ["hold"]
    add("bad-finalizer", "POST", MAPS, bad)
    add("collection-bad", "DELETE", MAPS + "?labelSelector=a b")
    add("collection-field", "DELETE", MAPS + "?fieldSelector=metadata.name=delete-e")
    add("collection-none", "DELETE", MAPS + "?labelSelector=none=such")
    for name in ("default", "kube-system", "kube-public"):
        add(f"namespace-{name}", "DELETE", f"/api/v1/namespaces/{name}?dryRun=All")
    pod = {
        "metadata": {"name": "graceful"},
        "spec": {"nodeName": "none-such", "containers": [{"name": "c", "image": "i"}]},
    }
    add("pod", "POST", PODS, pod)
    add("pod-graceful", "DELETE", PODS + "/graceful")
    add("pod-graceful-get", "GET", PODS + "/graceful")
    add("pod-shorter", "DELETE", PODS + "/graceful?gracePeriodSeconds=5")
    add("pod-longer", "DELETE", PODS + "/graceful?gracePeriodSeconds=500")
    add("pod-table", "GET", PODS + "/graceful", accept=TABLE)
    add("pod-force", "DELETE", PODS + "/graceful?gracePeriodSeconds=0")
    add("pod-gone", "GET", PODS + "/graceful")
