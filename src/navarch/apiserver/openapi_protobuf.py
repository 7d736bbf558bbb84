"""`/openapi/v2` as protobuf: what kubectl up to 1.30 and Helm ask for before they apply or validate anything.

The messages are gnostic's (openapiv2/OpenAPIv2.proto): one per kind of node of a Swagger 2.0 document. Pure and slow, as
`openapi` is. Only what our own documents hold is written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from navarch.machinery.protobuf import varint
from navarch.machinery.types import Obj

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

Write = Callable[[bytes, Any], bytes]
"""(tag, value) -> the field."""
Encode = Callable[[Any], bytes]
"""A node -> its message."""
VARINT, FIXED64, BYTES = 0, 1, 2


def document(swagger: Obj) -> bytes:
    """A Swagger 2.0 document, encoded."""
    return _document(swagger)


# -- fields


def _text(tag: bytes, value: str) -> bytes:
    data = value.encode()
    return tag + varint(len(data)) + data


def _texts(tag: bytes, values: list[str]) -> bytes:
    return b"".join([_text(tag, value) for value in values])


def _number(tag: bytes, value: int) -> bytes:
    return tag + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _double(tag: bytes, value: float) -> bytes:
    return tag + struct.pack("<d", value)


def _below(encode: Encode) -> Write:
    def write(tag: bytes, value: Any) -> bytes:
        data = encode(value)
        return tag + varint(len(data)) + data

    return write


def _each(encode: Encode) -> Write:
    one = _below(encode)
    return lambda tag, values: b"".join([one(tag, value) for value in values])


def _named(encode: Encode) -> Write:
    """A map, as a list of messages with a name and a value."""
    one = _below(lambda item: _text(_NAME, item[0]) + value(_VALUE, item[1]))
    value = _below(encode)
    return lambda tag, values: b"".join([one(tag, item) for item in values.items()])


def _tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


_NAME, _VALUE = _tag(1, BYTES), _tag(2, BYTES)
_WIRES: dict[Write, int] = {_number: VARINT, _double: FIXED64}


def _any(value: Any) -> bytes:
    """Any value, as YAML (which JSON is)."""
    return _text(_VALUE, orjson.dumps(value).decode() + "\n")


_extensions = _named(_any)


def _message(fields: Mapping[str, tuple[int, Write]], extensions: int = 0) -> Encode:
    """The encoder of an object with these keys -> (field number, how); its x- keys become field `extensions`."""
    tagged = {key: (_tag(number, _WIRES.get(write, BYTES)), write) for key, (number, write) in fields.items()}
    extra = _tag(extensions, BYTES)

    def encode(node: Obj) -> bytes:
        parts: list[bytes] = []
        for key, value in node.items():
            if found := tagged.get(key):
                parts.append(found[1](found[0], value))
            elif key.startswith("x-") and extensions:
                parts.append(_extensions(extra, {key: value}))
        return b"".join(parts)

    return encode


def _map_of(encode: Encode, number: int = 1) -> Encode:
    write, tag = _named(encode), _tag(number, BYTES)
    return lambda node: write(tag, node)


def _wrapped(number: int, encode: Encode) -> Encode:
    """A message whose only field is another message: one arm of a oneof."""
    write, tag = _below(encode), _tag(number, BYTES)
    return lambda node: write(tag, node)


# -- messages


def _schema(node: Obj) -> bytes:
    return _schema_fields(node)


def _type(value: str | list[str]) -> bytes:
    return _texts(_NAME, [value] if isinstance(value, str) else value)


def _more(value: Any) -> bytes:
    """additionalProperties: a schema or a boolean."""
    return _number(_tag(2, VARINT), value) if isinstance(value, bool) else _below(_schema)(_NAME, value)


_schema_fields = _message(
    {
        "$ref": (1, _text),
        "format": (2, _text),
        "title": (3, _text),
        "description": (4, _text),
        "default": (5, _below(_any)),
        "multipleOf": (6, _double),
        "maximum": (7, _double),
        "exclusiveMaximum": (8, _number),
        "minimum": (9, _double),
        "exclusiveMinimum": (10, _number),
        "maxLength": (11, _number),
        "minLength": (12, _number),
        "pattern": (13, _text),
        "maxItems": (14, _number),
        "minItems": (15, _number),
        "uniqueItems": (16, _number),
        "maxProperties": (17, _number),
        "minProperties": (18, _number),
        "required": (19, _texts),
        "enum": (20, _each(_any)),
        "additionalProperties": (21, _below(_more)),
        "type": (22, _below(_type)),
        "items": (23, _below(_wrapped(1, _schema))),
        "allOf": (24, _each(_schema)),
        "properties": (25, _below(_map_of(_schema))),
        "readOnly": (27, _number),
        "example": (30, _below(_any)),
    },
    31,
)
_body = _message(
    {"description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _number),
     "schema": (5, _below(_schema))},
    6,
)  # fmt: skip
_query = _message(
    {"required": (1, _number), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (6, _text),
     "format": (7, _text), "uniqueItems": (20, _number)},
    23,
)  # fmt: skip
_path = _message(
    {"required": (1, _number), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (5, _text),
     "format": (6, _text), "uniqueItems": (19, _number)},
    22,
)  # fmt: skip
_PARAMETERS = {
    "body": _wrapped(1, _body),
    "query": _wrapped(2, _wrapped(3, _query)),
    "path": _wrapped(2, _wrapped(4, _path)),
}


_reference = _wrapped(2, _message({"$ref": (1, _text)}))


def _parameter(node: Obj) -> bytes:
    return _reference(node) if "$ref" in node else _wrapped(1, _own_parameter)(node)


def _own_parameter(node: Obj) -> bytes:
    return _PARAMETERS[node["in"]](node)


_response = _message({"description": (1, _text), "schema": (2, _below(_wrapped(1, _schema)))}, 5)
_operation = _message(
    {
        "tags": (1, _texts),
        "summary": (2, _text),
        "description": (3, _text),
        "operationId": (5, _text),
        "produces": (6, _texts),
        "consumes": (7, _texts),
        "parameters": (8, _each(_parameter)),
        "responses": (9, _below(_map_of(_wrapped(1, _response)))),
        "schemes": (10, _texts),
        "deprecated": (11, _number),
    },
    13,
)
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_path_item = _message(
    {method: (2 + at, _below(_operation)) for at, method in enumerate(_METHODS)}
    | {"parameters": (9, _each(_parameter))},
    10,
)
_api_key = _message({"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)}, 5)
_security = _map_of(lambda scopes: _texts(_NAME, scopes))
_document = _message(
    {
        "swagger": (1, _text),
        "info": (2, _below(_message({"title": (1, _text), "version": (2, _text)}, 7))),
        "paths": (8, _below(_map_of(_path_item, 2))),
        "definitions": (9, _below(_map_of(_schema))),
        "parameters": (10, _below(_map_of(_own_parameter))),
        "security": (12, _each(_security)),
        "securityDefinitions": (13, _below(_map_of(_wrapped(2, _api_key)))),
    },
    16,
)
