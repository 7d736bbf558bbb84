"""Quantities and selectors, as the API prints and refuses them."""

from __future__ import annotations

import pytest

from navarch.machinery.quantity import Quantity, canonical
from navarch.machinery.selectors import from_label_selector, parse_field_selector, parse_label_selector
from navarch.machinery.tables import age, duration


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1000m", "1"), ("1.5", "1500m"), ("2048Ki", "2Mi"), ("1.5Gi", "1536Mi"), ("0.5Ki", "512"), ("12e4", "120e3")],
)
def test_canonical_text(text: str, wanted: str) -> None:
    assert canonical(text) == wanted


def test_amounts_round_away_from_zero() -> None:
    assert Quantity.parse("0.1n").nano == 1
    assert Quantity.parse("1100m").value() == 2
    assert Quantity.parse("-1100m").value() == -2


@pytest.mark.parametrize("text", ["", "abc", "1KKi", "1e9999999", "1 Gi"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantit"):
        canonical(text)


def test_label_selector_matches() -> None:
    selector = parse_label_selector("a=b,c!=d,e in (x,y),!f,g>1")
    assert selector.matches({"a": "b", "e": "y", "g": "2"})
    assert not selector.matches({"a": "b", "e": "y", "g": "1"})
    assert selector.exact() == {"a": "b"}
    assert str(selector) == "a=b,c!=d,e in (x,y),!f,g>1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("/x=1", 'unable to parse requirement: <nil>: Invalid value: "/x": prefix part must be non-empty'),
    ],
)
def test_label_selector_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_label_selector(text)
    assert str(caught.value) == message


def test_null_selects_nothing_and_empty_everything() -> None:
    assert not from_label_selector(None).matches({})
    assert from_label_selector({}).matches({"a": "b"})


def test_field_selector_escapes() -> None:
    selector = parse_field_selector("metadata.name=a\\,b,spec.nodeName!=y")
    assert selector.matches({"metadata.name": "a,b", "spec.nodeName": ""})
    assert selector.exact() == {"metadata.name": "a,b"}


def test_durations() -> None:
    assert [duration(s) for s in (-5, 90, 182, 3600 * 141, 86400 * 800)] == [
        "<invalid>",
        "90s",
        "3m2s",
        "5d21h",
        "2y70d",
    ]
    assert age(None, 0) == "<unknown>"
