"""Which media types travel: what an Accept header asks for, what a Content-Type brings, and the bytes of an answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from navarch.api import wire
from navarch.apiserver.request import Request
from navarch.machinery import decode, errors, protobuf
from navarch.machinery.decode import parse_yaml
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)
META_GROUP = "meta.k8s.io"
AS_KINDS = frozenset(("Table", "PartialObjectMetadata", "PartialObjectMetadataList"))
HUMAN_AGENTS = ("curl/", "Wget/", "Mozilla/")


class Output(NamedTuple):
    """How to answer. `kind` is Table, PartialObjectMetadata(List) or empty for the resource's own."""

    media: str
    kind: str = ""
    version: str = ""
    """Version of meta.k8s.io for `kind`."""


@lru_cache(maxsize=512)
def accepted(header: str, tables: bool = True, messages: bool = True) -> Output:
    """The first of the Accept header's choices that can be served; a Table only of what can be one, and protobuf without
    `messages` only of Tables and metadata. Raises 406."""
    if not header:
        return Output(JSON)
    for _, media, params in choices(header):
        kind = params.get("as", "")
        if kind == "Table" and (media == PROTOBUF or not tables):
            continue
        if kind and (kind not in AS_KINDS or params.get("g") != META_GROUP or params.get("v") not in ("v1", "v1beta1")):
            continue
        if media == "*/*":
            media = JSON
        if media == PROTOBUF and not kind and not messages:
            continue
        if media in MEDIA_TYPES:
            return Output(media, kind, params.get("v", "") if kind else "")
    here = ", ".join(MEDIA_TYPES)
    if "as=" in header or not messages:
        raise errors.not_acceptable(MEDIA_TYPES)
    raise StatusError(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {here}", {})


def choices(header: str) -> list[tuple[float, str, dict[str, str]]]:
    """An Accept header's media types with weight and parameters, the most wanted first."""
    return sorted((_choice(text) for text in header.split(",")), key=lambda choice: -choice[0])


def _choice(text: str) -> tuple[float, str, dict[str, str]]:
    media, *rest = (part.strip() for part in text.split(";"))
    params = dict(part.split("=", 1) for part in rest if "=" in part)
    try:
        weight = float(params.get("q", "1"))
    except ValueError:
        weight = 0.0
    return weight, media.lower(), params


def is_pretty(request: Request) -> bool:
    """People get indented JSON: who asks for it, and who uses a browser or curl and does not refuse it."""
    wish = request.param("pretty") if "pretty" in request.raw_query else ""
    if wish:
        return wish not in ("0", "false")
    return request.headers.get("user-agent", "").startswith(HUMAN_AGENTS)


def dump(tree: Any, pretty: bool = False) -> bytes:
    if pretty:
        return orjson.dumps(tree, option=orjson.OPT_INDENT_2) + b"\n"
    return orjson.dumps(tree)


def to_yaml(tree: Any) -> bytes:
    import yaml

    return yaml.dump(tree, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True).encode()


def encode(tree: Obj, media: str, definition: str, pretty: bool = False) -> bytes:
    """An object with its apiVersion and kind as a body. Raises 406 where its type has no protobuf form."""
    if media == YAML:
        return to_yaml(tree)
    if media == PROTOBUF:
        if not wire.has_message(definition):
            raise StatusError(406, "NotAcceptable", "406: Not Acceptable", {})
        return wire.encode_body(definition, tree)
    return dump(tree, pretty)


class Body(NamedTuple):
    """A request's body as a tree; `duplicates` says which fields it gives twice, a message each."""

    tree: Any
    duplicates: list[str]


def read_body(request: Request, kind: str, definition: str, strict: bool = False) -> Body:
    """The body's tree, by its Content-Type. Raises 400 and 415. `strict` also looks for duplicate fields."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON
    body = request.body
    if media == JSON:
        tree = decode.parse_json(body, kind)
        twice = decode.duplicate_keys(body, tree) if strict else []
        return Body(tree, [f'duplicate field "{path}"' for path in twice])
    if media == YAML:
        duplicates: list[str] = []
        return Body(parse_yaml(body, duplicates, kind), duplicates)
    if media == PROTOBUF:
        return Body(_protobuf_tree(body, definition), [])
    raise errors.unsupported_media_type(MEDIA_TYPES)


def _protobuf_tree(body: bytes, definition: str) -> Obj:
    try:
        api_version, kind, payload = protobuf.unseal(body)
        tree = wire.decode(definition, payload)
    except (ValueError, KeyError) as err:
        raise errors.bad_request(f"couldn't decode the protobuf body: {err}") from None
    if api_version:
        tree["apiVersion"] = api_version
    if kind:
        tree["kind"] = kind
    return tree
