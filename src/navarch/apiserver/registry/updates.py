"""What a write may not change, whatever the client sent, and whether it changes anything at all."""

from __future__ import annotations

import orjson

from navarch.api.schemas import has, schema
from navarch.machinery.decode import normalise
from navarch.machinery.trees import alike
from navarch.machinery.types import Obj


def carry(new: Obj, old: Obj, name: str) -> None:
    """Makes the new tree's field what the old one's is."""
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def carry_over(metadata: Obj, old: Obj) -> None:
    """What no update changes, whatever the client sent."""
    carry(metadata, old, "generation")
    carry(metadata, old, "creationTimestamp")
    carry(metadata, old, "resourceVersion")
    if not metadata.get("uid"):
        carry(metadata, old, "uid")
    metadata.pop("selfLink", None)
    if "deletionTimestamp" in old:
        metadata["deletionTimestamp"] = old["deletionTimestamp"]
    if metadata.get("deletionGracePeriodSeconds") is None:
        carry(metadata, old, "deletionGracePeriodSeconds")


def clear_status(obj: Obj, definition: str) -> None:
    """The status of a new object is its type's zero, or nothing where the type may be left out."""
    obj.pop("status", None)
    field = schema(definition).fields.get("status") if has(definition) else None
    if field is not None and field.presence == "always":
        obj["status"] = normalise(field.schema, {})


def keep_all_but_status(obj: Obj, old: Obj) -> None:
    for name in [name for name in obj if name not in old and name not in ("status", "metadata")]:
        del obj[name]
    for name, value in old.items():
        if name not in ("status", "metadata"):
            obj[name] = value


def unchanged(obj: Obj, old: Obj) -> bool:
    """Whether nothing but times in managedFields differs."""
    metadata, old_metadata = obj["metadata"], old["metadata"]
    fields, old_fields = metadata.get("managedFields"), old_metadata.get("managedFields")
    same = (
        {k: v for k, v in metadata.items() if k != "managedFields"}
        == {k: v for k, v in old_metadata.items() if k != "managedFields"}
        and {k: v for k, v in obj.items() if k != "metadata"} == {k: v for k, v in old.items() if k != "metadata"}
        and _timeless(fields) == _timeless(old_fields)
    )
    if not same or not alike({**obj, "metadata": None}, {**old, "metadata": None}):
        return False
    metadata["managedFields"] = old_fields
    if old_fields is None:
        del metadata["managedFields"]
    # == takes 1, 1.0 and true for equal: the encoding tells them apart
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS) == orjson.dumps(old, option=orjson.OPT_SORT_KEYS)


def _timeless(fields: list[Obj] | None) -> list[Obj]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in fields or ()]
