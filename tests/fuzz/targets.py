"""What reads bytes that strangers send, each as a function of bytes. It may raise StatusError (and nothing else)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson
from tests.support.requests import Connection

from navarch.api import scheme
from navarch.api.kind import Kind, Version
from navarch.apiserver import codec, options
from navarch.apiserver.negotiate import PROTOBUF, accepted, read_body
from navarch.apiserver.ownership import Ownership
from navarch.apiserver.patchbodies import read_patch
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.listing import decode_continue
from navarch.apiserver.request import Request, User
from navarch.machinery import decode, selectors
from navarch.machinery.apply import fieldset, managers
from navarch.machinery.apply.elements import ElementError
from navarch.machinery.cel.environment import compile_expression
from navarch.machinery.cel.syntax import CompileError
from navarch.machinery.cel.types import DYN
from navarch.machinery.cel.values import CelError, CostExceeded
from navarch.machinery.clock import RealWorld
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupKind

Target = Callable[[bytes], None]
KINDS = [("", "Pod"), ("", "Service"), ("apps", "Deployment"), ("", "ConfigMap"), ("networking.k8s.io", "Ingress")]
CEL_LIMIT = 20_000
"""Units of cost that an expression may use."""


def _kind(group: str, name: str) -> tuple[Kind, Version]:
    kind = scheme.by_kind()[GroupKind(group, name)][0]
    return kind, kind.hub


def _request(body: bytes, media: str = "", query: str = "", accept: str = "") -> Request:
    headers = {"content-type": media, "accept": accept}
    return Request("PATCH", "/", query, headers, body, Connection())


def _decoded(kind: Kind, version: Version, tree: Any, duplicates: list[str]) -> None:
    for validation in (codec.STRICT, codec.WARN):
        try:
            obj = codec.decode_object(kind, version, decode_again(tree), validation, [], duplicates)
            orjson.dumps(obj)
        except StatusError as err:
            orjson.dumps(err.to_status())


def decode_again(tree: Any) -> Any:
    return orjson.loads(orjson.dumps(tree))


def json_body(data: bytes) -> None:
    body = read_body(_request(data, "application/json"), "Pod", schema_of("Pod"), strict=True)
    for group, name in KINDS[:3]:
        _decoded(*_kind(group, name), body.tree, body.duplicates)


def yaml_body(data: bytes) -> None:
    body = read_body(_request(data, "application/yaml"), "Pod", schema_of("Pod"), strict=True)
    _decoded(*_kind("", "Pod"), body.tree, body.duplicates)


def schema_of(name: str) -> str:
    return next(_kind(*each)[1].definition for each in KINDS if each[1] == name)


def protobuf_body(data: bytes) -> None:
    for group, name in KINDS:
        kind, version = _kind(group, name)
        try:
            body = read_body(_request(data, PROTOBUF), name, version.definition)
            _decoded(kind, version, body.tree, body.duplicates)
        except StatusError:
            pass


POD: Any = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["a/b", "c/d"]},
    "spec": {
        "containers": [
            {"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}], "args": ["a", "b"]},
            {"name": "d"},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "k"}],
        "nodeSelector": {"x": "y"},
    },
}


def _patch(media: str) -> Target:
    def run(data: bytes) -> None:
        kind, version = _kind("", "Pod")
        patch = read_patch(_request(data, media, "fieldManager=m"), codec.WARN)
        patched = patch.applied_to(decode_again(POD), version)
        orjson.dumps(patched)
        _decoded(kind, version, patched, [])

    return run


def apply_patch(data: bytes) -> None:
    kind, version = _kind("", "Pod")
    patch = read_patch(_request(data, "application/apply-patch+yaml", "fieldManager=m&force=1"), codec.WARN)
    ownership = Ownership(RealWorld(seed=1))
    call = Call(user=User("u"), version=version, namespace="n", name="p", manager="m")
    live = codec.decode_object(kind, version, decode_again(POD), codec.IGNORE, [])
    orjson.dumps(ownership.apply(kind, call, live, patch.tree, True))


def field_sets(data: bytes) -> None:
    """A manager's field set as a client sends it: canonical, it is a fixed point."""
    tree = decode.parse_json(data)
    try:
        found = fieldset.canonical(tree)
    except ElementError:
        found = {}
    assert fieldset.canonical(decode_again(found)) == found
    assert not fieldset.difference(found, found)
    assert fieldset.union(found, {}) == found
    managers.canonical_entries(tree)
    one = {"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": tree}
    if entries := managers.canonical_entries([one]):
        orjson.dumps(managers.encode(managers.decode(entries)))


def label_selector(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        found = selectors.parse_label_selector(text)
    except ValueError as err:  # told in a 400
        str(err).encode()
        return
    found.matches({"a": "b", "x": "5"})
    again = selectors.parse_label_selector(str(found))
    assert str(again) == str(found)


def field_selector(data: bytes) -> None:
    try:
        found = selectors.parse_field_selector(data.decode(errors="replace"))
    except ValueError as err:
        str(err).encode()
        return
    found.matches({"metadata.name": "a"})
    again = selectors.parse_field_selector(str(found))
    assert sorted(again.terms) == sorted(found.terms)


def continue_token(data: bytes) -> None:
    """The token itself, and what is in it."""
    for token in (data.decode(errors="replace"), base64.urlsafe_b64encode(data).decode()):
        try:
            start, revision = decode_continue(token, "/registry/core/pods/")
        except StatusError as err:
            orjson.dumps(err.to_status())
        else:
            assert start.startswith("/registry/core/pods/") and isinstance(revision, int)
            start.encode()


def expression(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        program = compile_expression(text, {"object": DYN, "self": DYN, "n": DYN})
        program.run({"object": POD, "self": POD["spec"], "n": 3}, CEL_LIMIT)
    except (CompileError, CelError, CostExceeded) as err:
        str(err).encode()


def query(data: bytes) -> None:
    """Options of lists, watches, writes and deletes, from a query string; headers that choose media types."""
    text = data.decode("latin-1")
    for read in (
        lambda: options.list_options(_request(b"", query=text), False),
        lambda: options.list_options(_request(b"", query=text), True),
        lambda: options.write_options(_request(b"", query=text), "PatchOptions"),
        lambda: options.delete_options(_request(b"", query=text)),
        lambda: accepted(text),
        lambda: options.manager_of_agent(text),
    ):
        try:
            read()
        except StatusError as err:
            orjson.dumps(err.to_status())


TARGETS: dict[str, Target] = {
    "json": json_body,
    "yaml": yaml_body,
    "protobuf": protobuf_body,
    "json-patch": _patch("application/json-patch+json"),
    "merge-patch": _patch("application/merge-patch+json"),
    "strategic-patch": _patch("application/strategic-merge-patch+json"),
    "apply": apply_patch,
    "field-sets": field_sets,
    "labels": label_selector,
    "fields": field_selector,
    "continue": continue_token,
    "cel": expression,
    "query": query,
}


def call(target: Target, data: bytes) -> None:
    """A refusal is as good as an answer."""
    try:
        target(data)
    except StatusError as err:
        orjson.dumps(err.to_status())
