"""One Schema class for built-in kinds and custom resources: what a field is, and how two of them merge.

Compiled once (`navarch.api.schemas` from the release's definitions, `apiextensions` from a CRD), then walked by
decoding (prune, type-check, normalise as Go's encoding does), defaulting, validation, the strategic merge patch,
server-side apply, and OpenAPI. The nodes are immutable after compilation and may be shared or recursive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ScalarType = Literal[
    "string",
    "int32",
    "int64",
    "bool",
    "double",
    "bytes",
    "time",
    "microtime",
    "quantity",
    "amount",
    "intorstring",
    "duration",
]
"""`bytes` is base64 text on the wire; `time`/`microtime` RFC 3339 text; `quantity` a string or number; `amount` a
quantity of at most three decimal places, as resource lists have them: finer ones are rounded up."""

Presence = Literal["omitempty", "pointer", "always"]
"""How Go's JSON encoding treats a field: `omitempty` values vanish when zero (false, 0, "", [], {}); `pointer` fields
keep any explicit value but null; `always` fields are written even when they were absent (as zero value or `{}`)."""


@dataclass(slots=True, eq=False)
class Schema:
    """A node. Exactly one of the shapes below (`type`) applies."""

    type: Literal["object", "map", "list", "scalar", "any"]
    name: str = ""
    """The definition's name where it has one (`io.k8s.api.core.v1.PodSpec`), for messages, OpenAPI and protobuf."""
    scalar: ScalarType = "string"
    """For `scalar`."""
    fields: dict[str, Field] = field(default_factory=dict)
    """For `object`: the known fields. Others are unknown fields (pruned, warned about, or refused by Strict)."""
    items: Schema | None = None
    """For `list` and `map`: what an element is."""
    preserve_unknown: bool = False
    """For `object`: keep unknown fields (x-kubernetes-preserve-unknown-fields)."""
    # -- merging: structured-merge-diff and strategic merge patch
    list_type: Literal["atomic", "set", "map"] = "atomic"
    """x-kubernetes-list-type: how server-side apply merges this list."""
    list_map_keys: tuple[str, ...] = ()
    """x-kubernetes-list-map-keys."""
    map_type: Literal["granular", "atomic"] = "granular"
    """x-kubernetes-map-type, for objects and maps."""


@dataclass(slots=True, eq=False)
class Field:
    """A field of an object schema."""

    schema: Schema
    presence: Presence = "omitempty"
    required: bool = False
    default: Any = None
    """Schema default (of a CRD, or x-kubernetes default); None where there is none."""
    patch_strategy: tuple[str, ...] = ()
    """x-kubernetes-patch-strategy, of `merge`, `replace`, `retainKeys`: how a strategic merge patch treats it."""
    patch_merge_key: str = ""
    """x-kubernetes-patch-merge-key."""
