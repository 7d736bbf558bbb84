"""Inputs to begin with, small ones by hand; what once failed is in `FOUND`, so that it is tried at every run."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.fuzz.targets import POD

from navarch.api import wire

TREE: Any = {
    **POD,
    "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    "x": [1, -0.5, 1e9, True, None, "\u20ac\U0001f600", {"y": {"z": []}}],
}
YAML = """apiVersion: v1
kind: "Pod"
metadata: {name: 'a b', labels: {a: "1", b: yes}}
spec:
  # a comment
  containers:
  - name: c
    args: ["x", "\\u00e9", >-
    ]
    command:
    - |
      line
       more
  - &anchor {name: d, image: !!str 5, tty: on, env: [{name: A, value: 0x1F}, {name: B, value: 1_000}]}
  terminationGracePeriodSeconds: 0o17
  priority: 190:20:30
  ? nodeSelector
  : {? a : b, "c": ~}
...
"""
FIELDS = {
    "f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}},
    "f:spec": {
        "f:containers": {
            'k:{"name":"c"}': {".": {}, "f:args": {}, "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {}}}
        },
        "f:finalizers": {'v:"a/b"': {}, "v:1": {}},
        "f:list": {"i:0": {}},
    },
}
JSON_PATCH = [
    {"op": "test", "path": "/metadata/name", "value": "p"},
    {"op": "add", "path": "/spec/containers/0/args/-", "value": {"a": [1]}},
    {"op": "replace", "path": "/metadata/labels/a~1b", "value": None},
    {"op": "move", "from": "/spec/volumes", "path": "/spec/other"},
    {"op": "copy", "from": "/spec/containers/-1", "path": "/spec/containers/1"},
    {"op": "remove", "path": "/spec/nodeSelector/x"},
]
STRATEGIC = {
    "metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a/b"],
        "$setElementOrder/finalizers": ["c/d"],
        "labels": {"$patch": "replace", "z": "1"},
    },
    "spec": {
        "containers": [
            {"name": "c", "$patch": "delete"},
            {"name": "d", "args": None},
            {"$patch": "merge", "name": "e"},
        ],
        "$setElementOrder/containers": [{"name": "d"}, {"name": "e"}],
        "volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "v", "emptyDir": {}}],
        "tolerations": [{"$patch": "replace"}, {"key": "z"}],
    },
}
EXPRESSIONS = (
    "object.spec.containers.all(c, c.name.startsWith('c') || c.image != \"i\") && size(object.metadata.labels) <= n",
    "self.containers.filter(c, has(c.env)).map(c, c.env.map(e, e.value)).size() == 1 ? 'a' + string(n) : b'\\x00'",
    "{'a': 1u, 'b': 2.5e3}['a'] == 1u || [1, 2, 3].exists_one(x, x % 2 == 0) || timestamp('2026-01-01T00:00:00Z') > timestamp(0)",
    "quantity('1Gi').isGreaterThan(quantity('5M')) && url('https://a.b/c?d=e').getHost() == 'a.b' && ip('::1').family() == 6",
    "object.?metadata.?labels['a'].orValue('x').matches('^[a-z]+$') && 'abc'.find('b') == 'b' && cidr('10.0.0.0/8').containsIP('10.1.1.1')",
    "duration('1h30m').getMinutes() == 90 && type(1) == int && [[1], [2]].sum() == 3 && 'a,b'.split(',').join('-').lowerAscii() == 'a-b'",
    "cel.bind(x, [1, 2, 3, 4, 5, 6, 7, 8, 9], x.all(a, x.all(b, x.all(c, x.all(d, a + b + c + d > 0)))))",
    "'%s %d %.2f %x'.format(['a', 1, 2.0, 255]) == \"\"\"long\"\"\" + r'\\d' && semver('1.2.3').major() == 1 && -9223372036854775808 < 0",
)
QUERIES = (
    "labelSelector=a%3Db,c+in+(d,e)&fieldSelector=metadata.name%21%3Dx&limit=5&continue=abc&watch=1&timeoutSeconds=5",
    "resourceVersion=5&resourceVersionMatch=Exact&sendInitialEvents=true&allowWatchBookmarks=1",
    "dryRun=All&fieldManager=m&fieldValidation=Strict&gracePeriodSeconds=0&propagationPolicy=Orphan&orphanDependents=true&pretty=1",
    "application/json;as=Table;g=meta.k8s.io;v=v1,application/yaml;q=0.5,*/*",
)


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _protobuf() -> list[bytes]:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80, "targetPort": "http"}]},
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "m"},
        "data": {"a": "b"},
        "binaryData": {"c": "AAE="},
    }
    definitions = {"Pod": POD, "Service": service, "ConfigMap": config}
    return [wire.encode_body(f"io.k8s.api.core.v1.{name}", tree) for name, tree in definitions.items()]


def inputs() -> dict[str, list[bytes]]:
    """By target, those that once failed at the end."""
    made = {
        "json": [_json(TREE), b'{"a":1,"a":2}', b'"\\ud800"', b"[[[[]]]]", b"1e400"],
        "yaml": [YAML.encode(), b"a: &x [1, *x]\n", b"--- !!set {a, b}\n", _json(TREE)],
        "protobuf": _protobuf(),
        "json-patch": [_json(JSON_PATCH)],
        "merge-patch": [_json({"metadata": {"labels": {"a": None, "n": {"deep": 1}}}, "spec": {"containers": []}})],
        "strategic-patch": [_json(STRATEGIC)],
        "apply": [_json(POD), YAML.encode(), b"apiVersion: v1\nkind: Pod\nmetadata: {name: p, managedFields: [{}]}\n"],
        "field-sets": [_json(FIELDS)],
        "labels": [b"a=b,c!=d,e in (f,g),!h,i,j notin (k,),l>5,m<-3,n==o,x/y=z"],
        "fields": [b"metadata.name=a,spec.nodeName!=b\\,c,status.phase==d\\=e\\\\"],
        "continue": [
            base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":5,"start":"n/a\\u0000"}').rstrip(b"="),
            b'{"v":"meta.k8s.io/v1","rv":5,"start":"n/a"}',
        ],
        "cel": [text.encode() for text in EXPRESSIONS],
        "query": [text.encode() for text in QUERIES],
    }
    for name, found in FOUND.items():
        made[name].extend(found)
    return made


FOUND: dict[str, list[bytes]] = {
    "yaml": [b"<<", b"--- <<: !set {a, b}\n"],
    "cel": [b"[?1]", b"{? 'b': 2.5e3}", b"[?n]", b"{?'a': self}"],
}


def write(directory: Path) -> None:
    """A folder per target, as fuzzers take them."""
    for name, found in inputs().items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(found):
            (directory / name / f"seed-{number}").write_bytes(data)
