"""YAML as kubectl and the API server read it."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.machinery.decode import parse_yaml
from navarch.machinery.errors import StatusError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("017", 15),
        ("0o17", 15),
        ("0b11", 3),
        ("08", 8),
        ("1_000", 1000),
        ("-5", -5),
        ("+5", 5),
        ("1e3", 1000),
        (".5", 0.5),
        ("yes", True),
        ("Off", False),
        ("y", True),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"),
        ('"yes"', "yes"),
        ("!!str 5", "5"),
        ("99999999999999999999", 1e20),
        ("1Gi", "1Gi"),
    ],
)
def test_scalars_mean_what_they_mean_to_go(text: str, value: Any) -> None:
    assert parse_yaml(f"a: {text}".encode()) == {"a": value}


def test_keys_are_text_and_merges_yield_to_the_mapping() -> None:
    body = b"1: a\ntrue: b\n1.5: c\nbase: &x {k: 1, l: 2}\nmore: {<<: *x, k: 3}\n"
    assert parse_yaml(body) == {
        "1": "a",
        "true": "b",
        "1.5": "c",
        "base": {"k": 1, "l": 2},
        "more": {"k": 3, "l": 2},
    }


def test_duplicates_are_named_and_the_last_one_counts() -> None:
    duplicates: list[str] = []
    tree = parse_yaml(b"a: {k: 1, k: 2}\nl:\n- x\n- {p: 1, p: 2}\n", duplicates)
    assert tree == {"a": {"k": 2}, "l": ["x", {"p": 2}]}
    assert duplicates == ['line 1: key "k" already set in map', 'line 4: key "p" already set in map']


def test_only_the_first_document_is_read() -> None:
    assert parse_yaml(b"a: 1\n---\nb: 2\n") == {"a": 1}
    assert parse_yaml(b"") is None


BOMB = b"a0: &a0 x\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 30)
)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 20_000,
        b"{a: " * 20_000,
        b"- " * 20_000,
        b"{?" * 5_000,
        b"\n".join(b" " * level + b"a:" for level in range(1_000)),
        BOMB,
        b"&a [*a]",
        b"a: *b",
        b"a: b: c",
        b"\xff",
        b"\x00",
        b"a: .nan",
        b"? [a]\n: b",
        b"!!int x",
        b"a: {<<: 5}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_hostile_and_broken_bodies_are_a_400(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        parse_yaml(body, kind="Pod")
    assert caught.value.code == 400
    assert "(must be of type Pod): yaml: " in caught.value.message
