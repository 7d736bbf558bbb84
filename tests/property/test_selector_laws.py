"""Selectors against a naive reading, and their own text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from navarch.machinery.selectors import (
    FieldSelector,
    FieldTerm,
    from_label_selector,
    parse_field_selector,
    parse_label_selector,
)

KEYS = ["app", "tier", "example.com/x", "in", "notin"]
keys = st.sampled_from(KEYS)
values = st.sampled_from(["a", "b", "c-1", "5", "in", ""])
labels = st.dictionaries(keys, values, max_size=4)
requirements = st.one_of(
    st.tuples(keys, st.sampled_from(["=", "==", "!="]), values.map(lambda v: [v])),
    st.tuples(keys, st.sampled_from(["in", "notin"]), st.lists(values, min_size=1, max_size=3, unique=True)),
    st.tuples(keys, st.sampled_from(["exists", "!"]), st.just([])),
    st.tuples(keys, st.sampled_from([">", "<"]), st.integers(0, 9).map(lambda n: [str(n)])),
)
OPERATORS = {"in": "In", "notin": "NotIn", "exists": "Exists", "!": "DoesNotExist"}


def text_of(key: str, operator: str, operands: list[str]) -> str:
    match operator:
        case "in" | "notin":
            return f"{key} {operator} ({','.join(operands)})"
        case "exists":
            return key
        case "!":
            return f"!{key}"
        case _:
            return f"{key}{operator}{operands[0]}"


def holds(of: dict[str, str], key: str, operator: str, operands: list[str]) -> bool:
    match operator:
        case "=" | "==" | "in":
            return key in of and of[key] in operands
        case "!=" | "notin":
            return key not in of or of[key] not in operands
        case "exists" | "!":
            return (key in of) is (operator == "exists")
        case _:
            if key not in of or not of[key].isdigit():
                return False
            return int(of[key]) > int(operands[0]) if operator == ">" else int(of[key]) < int(operands[0])


@given(st.lists(requirements, max_size=4), labels)
def test_a_label_selector_is_all_of_its_requirements(wanted: list[Any], of: dict[str, str]) -> None:
    text = ",".join(text_of(*each) for each in wanted)
    found = parse_label_selector(text)
    assert found.matches(of) is all(holds(of, *each) for each in wanted)
    again = parse_label_selector(str(found))
    assert again.requirements == found.requirements and again.matches(of) is found.matches(of)
    assert all(of.get(key) == value for key, value in found.exact().items()) or not found.matches(of)


@given(keys, st.lists(values, min_size=1, max_size=3, unique=True), labels)
def test_a_requirement_or_its_opposite_holds(key: str, operands: list[str], of: dict[str, str]) -> None:
    joined = ",".join(operands)
    for one, other in (
        (f"{key} in ({joined})", f"{key} notin ({joined})"),
        (key, f"!{key}"),
        (f"{key}=a", f"{key}!=a"),
    ):
        assert parse_label_selector(one).matches(of) is not parse_label_selector(other).matches(of)


@given(labels, st.lists(requirements.filter(lambda each: each[1] in OPERATORS), max_size=3), labels)
def test_the_object_and_the_text_mean_the_same(equal: dict[str, str], wanted: list[Any], of: dict[str, str]) -> None:
    expressions = [{"key": key, "operator": OPERATORS[op], "values": operands} for key, op, operands in wanted]
    found = from_label_selector({"matchLabels": equal, "matchExpressions": expressions})
    expected = all(of.get(k) == v for k, v in equal.items()) and all(holds(of, *each) for each in wanted)
    assert found.matches(of) is expected
    assert parse_label_selector(str(found)).matches(of) is expected


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
terms = st.lists(st.tuples(st.sampled_from(["metadata.name", "spec.nodeName"]), st.booleans(), anything), max_size=3)


@given(terms, st.dictionaries(st.sampled_from(["metadata.name", "spec.nodeName"]), anything))
def test_a_field_selector_with_any_values_is_read_as_it_was_written(found: list[Any], of: dict[str, str]) -> None:
    selector = FieldSelector([FieldTerm(*each) for each in found])
    read = parse_field_selector(str(selector))
    assert sorted(read.terms) == sorted(selector.terms)
    assert read.matches(of) is all((of.get(field, "") == value) is equal for field, equal, value in found)
