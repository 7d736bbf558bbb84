"""Properties of decoding: whatever comes in, a tree or a 400; normal form is a fixpoint; protobuf keeps it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api import wire
from navarch.api.schemas import schema
from navarch.machinery.decode import duplicate_keys, normalise, parse_json, parse_yaml
from navarch.machinery.errors import StatusError
from navarch.machinery.schema import Schema
from navarch.machinery.trees import copy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.sampled_from(["", "aGVsbG8=", "AAA="]),
    "time": st.sampled_from(["2026-01-02T03:04:05Z", "1969-12-31T23:59:59+01:00"]),
    "microtime": st.sampled_from(["2026-01-02T03:04:05.000001Z", "2026-01-02T03:04:05Z"]),
    "quantity": st.sampled_from(["0", "1", "100m", "2Gi"]),
    "amount": st.sampled_from(["0", "1", "100m", "2Gi"]),
    "intorstring": st.one_of(st.integers(-(2**31), 2**31 - 1), TEXT),
    "duration": st.just("1m0s"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def trees(draw: st.DrawFn, node: Schema, depth: int = 0) -> Any:
    """A tree of the schema's types, with a few fields of each object."""
    if node.type == "scalar":
        return draw(SCALARS[node.scalar])
    if node.type == "any" or (node.items is None and node.type != "object"):
        return {"any": draw(TEXT)}
    if node.type == "list":
        return draw(st.lists(trees(node.items, depth + 1), max_size=2))  # pyright: ignore[reportArgumentType]
    if node.type == "map":
        return draw(st.dictionaries(TEXT, trees(node.items, depth + 1), max_size=2))  # pyright: ignore[reportArgumentType]
    names = sorted(node.fields)
    chosen = draw(st.lists(st.sampled_from(names), max_size=4 if depth < 6 else 0, unique=True)) if names else []
    return {name: draw(trees(node.fields[name].schema, depth + 1)) for name in chosen}


KINDS = [schema(f"io.k8s.api.{name}") for name in ("core.v1.Pod", "core.v1.Service", "apps.v1.Deployment")]


@given(st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), trees(kind))))
@settings(max_examples=60, deadline=None)
def test_the_normal_form_is_a_fixpoint_and_survives_protobuf(case: tuple[Schema, Any]) -> None:
    kind, tree = case
    unknown: list[str] = []
    normal = normalise(kind, copy(tree), unknown)
    assert not unknown
    assert normalise(kind, copy(normal)) == normal
    typeless = {key: value for key, value in normal.items() if key not in ("kind", "apiVersion")}
    read = wire.decode(kind.name, wire.encode(kind.name, normal))
    assert normalise(kind, read) == typeless


@given(st.sampled_from(KINDS), JSON)
@settings(max_examples=60, deadline=None)
def test_any_tree_is_normalised_or_a_400(kind: Schema, tree: Any) -> None:
    try:
        normalise(kind, tree, [])
    except StatusError as error:
        assert error.code == 400


@given(st.binary(max_size=60) | st.text("[]{}:,&*!<>-?|'\"# \nab01.~", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_tree_or_a_400(body: bytes) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(body)
        except StatusError as error:
            assert error.code == 400


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    try:
        wire.decode("io.k8s.api.core.v1.Pod", data)
    except (ValueError, StatusError):
        pass


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", '":', "\\u0022"]), st.sampled_from(["1", '":"', '"\\u0022:"'])), max_size=4
    )
)
@settings(deadline=None)
def test_duplicates_are_never_missed(pairs: list[tuple[str, str]]) -> None:
    keys = [key.replace('"', '\\"') for key, _ in pairs]
    body = "{" + ",".join(f'"{key}":{value}' for key, (_, value) in zip(keys, pairs, strict=True)) + "}"
    decoded = [key.replace("\\u0022", '"') for key, _ in pairs]
    assert bool(duplicate_keys(body.encode())) == (len(set(decoded)) < len(decoded))
