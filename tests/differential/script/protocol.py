"""The protocol itself, mostly on config maps: bodies, media types, paths, names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.differential.steps import (
    JSON,
    MERGE,
    PARTIAL,
    PARTIALS,
    PROTOBUF,
    TABLE,
    YAML,
    Script,
    Step,
)

MAPS = "/api/v1/namespaces/{ns}/configmaps"
ALL_MAPS = "/api/v1/configmaps"
PODS = "/api/v1/namespaces/{ns}/pods"


def steps() -> Iterator[Step]:
    for part in (_bodies, _media, _paths, _names):
        add = Script(part.__name__.strip("_"))
        part(add)
        yield from add.steps


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def _bodies(add: Script) -> None:
    texts = {
        "empty": "",
        "brace": "{",
        "null": "null",
        "list": "[]",
        "number": "1",
        "text": '"x"',
        "trailing": '{"metadata":{"name":"a"}} x',
        "not-json": "metadata: {name: a}",
        "nan": '{"metadata":{"name":"a"},"data":{"a":NaN}}',
        "data-number": '{"metadata":{"name":"a"},"data":{"a":1}}',
        "data-list": '{"metadata":{"name":"a"},"data":["a"]}',
        "data-text": '{"metadata":{"name":"a"},"data":"a"}',
        "metadata-list": '{"metadata":[]}',
        "metadata-text": '{"metadata":"a"}',
        "name-number": '{"metadata":{"name":5}}',
        "labels-number": '{"metadata":{"name":"a","labels":{"a":1}}}',
        "bad-base64": '{"metadata":{"name":"a"},"binaryData":{"a":"*"}}',
        "bad-time": '{"metadata":{"name":"a","creationTimestamp":"yesterday"}}',
        "kind-number": '{"kind":5,"metadata":{"name":"a"}}',
        "other-kind": '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}',
        "other-version": '{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}',
        "other-group": '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}',
        "unknown-group": '{"apiVersion":"none.example.com/v1","kind":"None","metadata":{"name":"a"}}',
        "bad-version": '{"apiVersion":"a/b/c","kind":"ConfigMap","metadata":{"name":"a"}}',
        "only-kind": '{"kind":"ConfigMap","metadata":{"name":"only-kind"}}',
        "only-version": '{"apiVersion":"v1","metadata":{"name":"only-version"}}',
        "no-type": '{"metadata":{"name":"no-type"}}',
        "no-metadata": "{}",
        "duplicate-keys": '{"metadata":{"name":"duplicate"},"data":{"a":"1","a":"2"}}',
        "case": '{"Metadata":{"name":"a"}}',
        "list-kind": '{"apiVersion":"v1","kind":"ConfigMapList","items":[]}',
    }
    for name, text in texts.items():
        add(f"create-{name}", "POST", MAPS, text, type=JSON)
    for mode in ("Strict", "Warn", "Ignore", "Nonsense"):
        for name in ("duplicate-keys", "case", "data-number"):
            add(f"{mode.lower()}-{name}", "POST", f"{MAPS}?fieldValidation={mode}&dryRun=All", texts[name], type=JSON)
    many = named("many", x=1, y=2, data={"a": "b"})
    many["metadata"] |= {"nofield": 1, "labels": {}}
    add("strict-many", "POST", MAPS + "?fieldValidation=Strict", many)
    add("warn-many", "POST", MAPS + "?fieldValidation=Warn&dryRun=All", many)
    add("default-validation", "POST", MAPS + "?dryRun=All", many)
    deployment = {
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "replcas": 2,
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i", "imagePullPolcy": "x", "ports": [{"port": 1}]}]},
            },
        },
    }
    deployments = "/apis/apps/v1/namespaces/{ns}/deployments"
    add("warn-nested", "POST", deployments + "?dryRun=All", deployment)
    add("strict-nested", "POST", deployments + "?fieldValidation=Strict", deployment)
    for name, replicas in {
        "text": "3",
        "float": 1.5,
        "huge": 2**40,
        "negative": -1,
        "exponent": 1e3,
        "bool": True,
    }.items():
        spec = {**deployment["spec"], "replicas": replicas}
        add(f"replicas-{name}", "POST", deployments + "?dryRun=All", {**deployment, "spec": spec})
    add("yaml", "POST", MAPS + "?dryRun=All", "metadata: {name: a}\ndata: {a: 'b'}\n", type=YAML)
    add("yaml-number", "POST", MAPS + "?dryRun=All", "metadata: {name: a}\ndata: {a: 1}\n", type=YAML)
    add("yaml-bad", "POST", MAPS + "?dryRun=All", "metadata: {name: a\n", type=YAML)
    add("yaml-duplicate", "POST", MAPS + "?dryRun=All", "metadata: {name: a}\ndata: {a: b, a: c}\n", type=YAML)
    add(
        "yaml-duplicate-strict",
        "POST",
        MAPS + "?fieldValidation=Strict",
        "metadata: {name: a}\ndata: {a: b, a: c}\n",
        type=YAML,
    )
    add("protobuf-bad", "POST", MAPS, b"k8s\0\xff\xff", type=PROTOBUF)
    add("protobuf-no-magic", "POST", MAPS, b"{}", type=PROTOBUF)


def _media(add: Script) -> None:
    add("make", "POST", MAPS, named("media", data={"a": "b"}))
    one = MAPS + "/media"
    for name, accept in {
        "any": "*/*",
        "application": "application/*",
        "text": "text/html",
        "browser": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "list-first-bad": "text/plain,application/json",
        "yaml-or-json": "application/yaml,application/json",
        "quality": "application/json;q=0.1,application/yaml",
        "charset": "application/json;charset=utf-8",
        "pretty": "application/json;pretty=1",
        "table": TABLE,
        "table-v1beta1": "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "table-or-json": TABLE + ",application/json",
        "table-no-group": "application/json;as=Table;v=v1",
        "table-yaml": "application/yaml;as=Table;v=v1;g=meta.k8s.io",
        "table-protobuf": PROTOBUF + ";as=Table;v=v1;g=meta.k8s.io",
        "as-nothing": "application/json;as=Nothing;v=v1;g=meta.k8s.io",
        "as-nothing-or-json": "application/json;as=Nothing;v=v1;g=meta.k8s.io,application/json",
        "partial": PARTIAL,
        "partial-list-of-one": PARTIALS,
        "partial-protobuf": PROTOBUF + ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "cbor": "application/cbor",
        "empty": "",
        "broken": "application",
        "stream": "application/json;stream=watch",
    }.items():
        add(f"get-{name}", "GET", one, headers={"Accept": accept})
    for include in ("None", "Metadata", "Object", "Nonsense"):
        add(f"table-{include.lower()}", "GET", f"{one}?includeObject={include}", accept=TABLE)
    add("partial-of-list-as-one", "GET", MAPS + "?fieldSelector=metadata.name=media", accept=PARTIAL)
    add("create-as-table", "POST", MAPS, named("media-2"), accept=TABLE)
    add("create-as-partial", "POST", MAPS, named("media-3"), accept=PARTIAL)
    add("delete-as-table", "DELETE", MAPS + "/media-2", accept=TABLE)
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for name, accept in {"table": TABLE, "table-or-json": TABLE + ",application/json", "partial": PARTIAL}.items():
        add(f"review-as-{name}", "POST", reviews, review, accept=accept)
    add("error-as-yaml", "GET", MAPS + "/missing", accept=YAML)
    add("error-as-table", "GET", MAPS + "/missing", accept=TABLE)
    add("error-as-protobuf", "GET", MAPS + "/missing", accept=PROTOBUF)
    add("error-as-text", "GET", MAPS + "/missing", accept="text/html")
    for name, type in {
        "text": "text/plain",
        "none": "",
        "json-charset": "application/json; charset=utf-8",
        "merge-patch": MERGE,
        "cbor": "application/cbor",
        "broken": "application",
        "form": "application/x-www-form-urlencoded",
    }.items():
        add(f"create-type-{name}", "POST", MAPS + "?dryRun=All", named("typed"), headers={"Content-Type": type})
    for name, type in {
        "json": JSON,
        "none": "",
        "text": "text/plain",
        "yaml": YAML,
        "cbor": "application/apply-patch+cbor",
    }.items():
        body = {"metadata": {"labels": {"a": "b"}}}
        add(f"patch-type-{name}", "PATCH", one, body, headers={"Content-Type": type})


def _paths(add: Script) -> None:
    for name, path in {
        "no-resource": "/api/v1/namespaces/{ns}/nothings",
        "no-group": "/apis/none.example.com",
        "no-group-version": "/apis/none.example.com/v1",
        "no-group-resource": "/apis/none.example.com/v1/things",
        "no-version": "/apis/apps/v9",
        "no-version-resource": "/apis/apps/v9/deployments",
        "no-api-version": "/api/v9",
        "old-group": "/apis/extensions/v1beta1/deployments",
        "nothing": "/nothing",
        "subresource": MAPS + "/a/nothing",
        "namespaced-cluster": "/api/v1/namespaces/{ns}/nodes",
        "cluster-namespaced": "/api/v1/configmaps/a",
        "no-namespace": "/api/v1/namespaces/none-{ns}/configmaps",
        "no-namespace-name": "/api/v1/namespaces/none-{ns}/configmaps/a",
        "slash-end": "/api/v1/",
        "apis-slash": "/apis/",
        "double-slash": "/api//v1/namespaces",
        "namespace-status": "/api/v1/namespaces/{ns}/status",
        "watch-prefix": "/api/v1/watch/nothings",
    }.items():
        add(name, "GET", path)
    for method in ("PUT", "PATCH", "POST"):
        add(f"collection-{method.lower()}", method, MAPS, {}, type=MERGE if method == "PATCH" else JSON)
    add("named-post", "POST", MAPS + "/a", named("a"))
    add("options", "OPTIONS", MAPS)
    add("head", "HEAD", MAPS + "/media")
    add("head-missing", "HEAD", MAPS + "/missing")
    add("unknown-method", "BREW", MAPS)
    add("trace", "PROPFIND", MAPS + "/a")
    add("create-in-no-namespace", "POST", "/api/v1/namespaces/none-{ns}/configmaps", named("a"))
    other = named("a")
    other["metadata"]["namespace"] = "{other}"
    add("create-for-other-namespace", "POST", MAPS, other)
    add("create-across", "POST", ALL_MAPS, other)
    for path in (
        "healthz",
        "livez",
        "readyz",
        "healthz/ping",
        "readyz/etcd",
        "readyz/none",
        "livez/ping",
        "readyz?exclude=etcd",
    ):
        add(f"health-{path.replace('/', '-').replace('?', '-').replace('=', '-')}", "GET", f"/{path}")
    add("logs", "GET", "/logs")
    add("well-known", "GET", "/.well-known/openid-configuration")


def _names(add: Script) -> None:
    for name, value in {
        "upper": "Upper",
        "underscore": "a_b",
        "dash-first": "-a",
        "dash-last": "a-",
        "dot-last": "a.",
        "dots": "a..b",
        "long": "x" * 254,
        "slash": "a/b",
        "percent": "a%b",
        "dot": ".",
        "space": "a b",
        "empty": "",
        "utf8": "\u00e9",
    }.items():
        add(f"name-{name}", "POST", MAPS + "?dryRun=All", named(value))
    for field, values in {
        "labels": {"bad-key": {"a b": "c"}, "bad-value": {"a": "b c"}, "long-value": {"a": "x" * 64}, "prefix": {"A_B/c": "d"},
                   "two-slashes": {"a/b/c": "d"}, "empty-key": {"": "d"}, "long-name": {"x" * 64: "y"}},
        "annotations": {"bad-key": {"a b": "c"}, "upper-prefix": {"A/b": "c"}, "huge": {"a": "x" * 262145}},
        "ownerReferences": {
            "empty": [{}],
            "no-uid": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}],
            "two-controllers": [
                {"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in ("a", "b")
            ],
            "event": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}],
            "same-twice": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}] * 2,
            "no-version": [{"apiVersion": "", "kind": "Pod", "name": "p", "uid": "u"}],
        },
        "finalizers": {"unknown": ["x"], "qualified": ["a.example/b"], "both": ["orphan", "foregroundDeletion"], "bad": ["a b/c"]},
        "managedFields": {"bad-operation": [{"operation": "x"}], "bad-type": [{"operation": "Apply", "fieldsType": "x"}]},
    }.items():  # fmt: skip
        for name, value in values.items():
            body = named("meta")
            body["metadata"][field] = value
            add(f"{field.lower()}-{name}", "POST", MAPS + "?dryRun=All", body)
    for name, data in {
        "bad-key": {"a b": "c"},
        "dots": {"..": "c"},
        "long-key": {"x" * 254: "y"},
        "empty-key": {"": "y"},
    }.items():
        add(f"data-{name}", "POST", MAPS + "?dryRun=All", named("data", data=data))
    add("data-both", "POST", MAPS + "?dryRun=All", named("data", data={"a": "b"}, binaryData={"a": "YQ=="}))
    add("data-huge", "POST", MAPS + "?dryRun=All", named("data", data={"a": "x" * (1 << 20)}))
