"""The protobuf form of the API's built-in types: the codec of `machinery.protobuf` over `wire.json`.

Trees come out as JSON has them, but for zero values and absent always-written fields: `normalise` follows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson

from navarch.api import schemas
from navarch.machinery.decode import parse_json
from navarch.machinery.protobuf import MAGIC, Read, Special, Tables, Write, seal, unseal
from navarch.machinery.types import Obj

_SCALARS = {
    "time": "seconds=1:int64 nanos=2:int32",
    "microtime": "seconds=1:int64 nanos=2:int32",
    "duration": "duration=1:int64",
    "quantity": "string=1:string",
    "intorstring": "type=1:int64 intVal=2:int32 strVal=3:string",
    "raw": "raw=1:bytes",
}
"""Messages that `wire.json` names as types of their own."""
_GO_ZERO_SECONDS = -62135596800


def _load(message: str) -> str:
    if line := _SCALARS.get(message):
        return line
    package, _, name = message.rpartition(".")
    return schemas.wire()[package][name]


def _resolve(reference: str, message: str) -> str:
    return reference if reference in _SCALARS else schemas.resolve(reference, message.rpartition(".")[0])


@cache
def tables() -> Tables:
    """The codec: messages are named as definitions are (`io.k8s.api.core.v1.Pod`)."""
    return Tables(_load, _resolve, specials=_specials(), write_zeros=True, text_bytes=True)


def decode(definition: str, payload: bytes) -> Obj:
    """The tree of a message. Raises ValueError for bad input, KeyError for a type that has no protobuf form."""
    return tables().decode(definition, payload)


def encode(definition: str, obj: Obj) -> bytes:
    """The message of an object."""
    return tables().encode(definition, obj)


def encode_body(definition: str, obj: Obj) -> bytes:
    """An object (with apiVersion and kind) in its envelope."""
    return seal(obj["apiVersion"], obj["kind"], encode(definition, obj))


def has_message(definition: str) -> bool:
    """Whether the type has a protobuf form."""
    return schemas.has(definition)


# -- types whose JSON is not their message


def _read_time(payload: bytes, plain: Read) -> str | None:
    moment = plain(payload, 0, len(payload), 0)
    if not moment or moment.get("seconds") == _GO_ZERO_SECONDS:
        return None
    return _moment(moment)


def _moment(moment: Obj) -> str:
    try:
        return datetime.fromtimestamp(moment.get("seconds", 0), UTC).isoformat()[:19] + "Z"
    except (OverflowError, OSError, ValueError):
        raise ValueError("proto: time out of range") from None


def _read_micro_time(payload: bytes, plain: Read) -> str | None:
    moment = plain(payload, 0, len(payload), 0)
    if not moment or moment.get("seconds") == _GO_ZERO_SECONDS:
        return None
    return f"{_moment(moment)[:-1]}.{moment.get('nanos', 0) // 1000:06}Z"


def _write_time(value: Any, plain: Write) -> bytes:
    if not value:
        return b""
    moment = datetime.fromisoformat(value)
    return plain({"seconds": int(moment.replace(microsecond=0).timestamp()), "nanos": moment.microsecond * 1000})


_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", re.ASCII)


def _read_duration(payload: bytes, plain: Read) -> str:
    nanos = plain(payload, 0, len(payload), 0).get("duration", 0)
    seconds, rest = divmod(abs(nanos), 10**9)
    return f"{'-' if nanos < 0 else ''}{seconds}{f'.{rest:09}'.rstrip('0') if rest else ''}s"


def _write_duration(value: Any, plain: Write) -> bytes:
    """From Go's text (`1m30.5s`)."""
    text = str(value or "0s")
    nanos = sum(round(float(number) * _UNITS[unit]) for number, unit in _PART.findall(text))
    return plain({"duration": -nanos if text.startswith("-") else nanos})


def _read_quantity(payload: bytes, plain: Read) -> str:
    return plain(payload, 0, len(payload), 0).get("string", "0") or "0"


def _read_int_or_string(payload: bytes, plain: Read) -> int | str:
    value = plain(payload, 0, len(payload), 0)
    return value.get("strVal", "") if value.get("type") else value.get("intVal", 0)


def _write_int_or_string(value: Any, plain: Write) -> bytes:
    if isinstance(value, str):
        return plain({"type": 1, "strVal": value})
    return plain({"intVal": value or 0})


def _json_payload(payload: bytes) -> bytes:
    """The bytes of field 1, of a message that has only that: read without base64."""
    return _RAW.decode("raw", payload).get("raw", b"")


_RAW = Tables({"raw": "raw=1:bytes"})


def _read_raw(payload: bytes, plain: Read) -> Any:
    raw = _json_payload(payload)
    if raw.startswith(MAGIC):
        api_version, kind, message = unseal(raw)
        return {"kind": kind, "apiVersion": api_version, **decode(definition_of(api_version, kind), message)}
    return parse_json(raw) if raw else None


def _write_raw(value: Any, plain: Write) -> bytes:
    return _RAW.encode("raw", {"raw": orjson.dumps(value)}) if value is not None and value != {} else b""


def _write_fields(value: Any, plain: Write) -> bytes:
    return _RAW.encode("raw", {"raw": orjson.dumps(value, option=orjson.OPT_SORT_KEYS)})


def _read_items(payload: bytes, plain: Read) -> list[str]:
    return plain(payload, 0, len(payload), 0).get("items", [])


def _read_or_array(payload: bytes, plain: Read) -> Any:
    value = plain(payload, 0, len(payload), 0)
    return value["schema"] if "schema" in value else value.get("jSONSchemas", [])


def _read_or_bool(payload: bytes, plain: Read) -> Any:
    value = plain(payload, 0, len(payload), 0)
    return value["schema"] if "schema" in value else value.get("allows", False)


def _read_or_strings(payload: bytes, plain: Read) -> Any:
    value = plain(payload, 0, len(payload), 0)
    return value["schema"] if "schema" in value else value.get("property", [])


def _write_or_bool(value: Any, plain: Write) -> bytes:
    return plain({"allows": True, "schema": value} if isinstance(value, dict) else {"allows": bool(value)})


def definition_of(api_version: str, kind: str) -> str:
    """The definition of a built-in type by what its objects say of themselves. Raises ValueError for unknown ones."""
    group, _, version = api_version.rpartition("/")
    package = f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}"
    if group == "apiextensions.k8s.io":
        package = f"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}"
    elif group == "apiregistration.k8s.io":
        package = f"io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}"
    for candidate in (f"{package}.{kind}", f"io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}"):
        if schemas.has(candidate):
            return candidate
    raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')


def _specials() -> dict[str, Special]:
    found = {
        "time": Special(_read_time, _write_time),
        "microtime": Special(_read_micro_time, _write_time),
        "duration": Special(_read_duration, _write_duration),
        "quantity": Special(_read_quantity, lambda value, plain: plain({"string": value or "0"})),
        "intorstring": Special(_read_int_or_string, _write_int_or_string),
        "raw": Special(_read_raw, _write_raw),
    }
    items = Special(_read_items, lambda value, plain: plain({"items": value}))
    for package, messages in schemas.wire().items():
        found |= {f"{package}.{name}": items for name in ("Verbs", "ExtraValue") if name in messages}
        if "JSONSchemaPropsOrArray" in messages:
            found[f"{package}.JSON"] = Special(_read_raw, _write_fields)
            found[f"{package}.JSONSchemaPropsOrArray"] = Special(
                _read_or_array,
                lambda value, plain: plain({"schema" if isinstance(value, dict) else "jSONSchemas": value}),
            )
            found[f"{package}.JSONSchemaPropsOrBool"] = Special(_read_or_bool, _write_or_bool)
            found[f"{package}.JSONSchemaPropsOrStringArray"] = Special(
                _read_or_strings,
                lambda value, plain: plain({"schema" if isinstance(value, dict) else "property": value}),
            )
    return found
