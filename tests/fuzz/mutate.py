"""Random changes of bytes and of trees: the values that parsers, walkers and validation stumble over."""

from __future__ import annotations

import random
from typing import Any

DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 1e308, 0.1, -0.0, "", " ", "0", "-1", "*", ".", "..", "/",
    "a/b/c", "a" * 300, "A_", "-", "\0", "\n", "é", "\U0001f600", "١", "1e9999", "99999999999999999999", "1Ei", "0x10", "5%", "-5%",
    "2026-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z", "::", "::1", "10.0.0.0/33", "010.1.1.1", "fe80::1%eth0",
    "${x}", "$(A)", "(((((", "[", "{", "a=b,c in (d", "!", "=", "true", "null", "Infinity", "NaN", [], {}, [None], [[]], [{}], {"": None},
    {"a": {}}, [1, "1"], {"name": None}, {"$patch": "delete"}, {"$patch": []}, [{"$patch": "replace"}], {"k": []}, DEEP,
)  # fmt: skip
TOKENS: tuple[bytes, ...] = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-", b"1e999", b"\\u0000", b"\\ud800", b"\xff", b"\0", b"&a", b"*a", b"!!",
    b"---\n", b"? ", b"- ", b"|\n", b">\n", b"<<: ", b"\t", b"%", b"'", b"(", b")", b"==", b"!=", b" in ", b"notin", b"k8s\0", b"\x7f", b"\xe2\x80\xa8",
    b"9" * 30, b".", b"f:", b'k:{"a":1}', b"v:", b"i:0", b"$patch", b"$setElementOrder/", b"~1", b"/-", b"/0", b"\x08\x96\x01", b"\x0a\x7f", b"?:",
    b"&&", b"||", b".map(x, x)", b"has(a.b)", b"[0]", b"size(", b"@", b"#", b"\r\n",
)  # fmt: skip


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to six changes: a byte, a token, a cut, a repetition, a splice with another input."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at, end = sorted((rng.randint(0, len(made)), rng.randint(0, len(made))))
        match rng.randrange(7):
            case 0 if made:
                made[rng.randrange(len(made))] = rng.randrange(256)
            case 1:
                made[at:at] = rng.choice(TOKENS)
            case 2:
                del made[at : min(end, at + rng.choice((1, 4, 1000)))]
            case 3:
                made[at:at] = made[at : min(end, at + 40)] * rng.choice((1, 2, 30))
            case 4 if others:
                other = rng.choice(others)
                start = rng.randint(0, len(other))
                made[at:end] = other[start : start + rng.randint(0, 80)]
            case 5 if made:
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
            case _:
                made[at : at + 1] = rng.choice(TOKENS)
    return bytes(made[:20_000])


def changed(rng: random.Random, tree: Any, others: list[Any]) -> Any:
    """A copy with one to four of its nodes replaced, dropped, renamed or doubled; `others` lends values of its own."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tree = _change(rng, tree, others)
    return tree


def _change(rng: random.Random, tree: Any, others: list[Any]) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.93:
        key = rng.choice(list(tree))
        made = dict(tree)
        roll = rng.random()
        if roll < 0.08:
            del made[key]
        elif roll < 0.13:
            made[rng.choice(("", "x", "name", "status", "$patch", "a" * 70, key.upper(), "é"))] = made[key]
        else:
            made[key] = _change(rng, tree[key], others)
        return made
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        index = rng.randrange(len(tree))
        roll = rng.random()
        if roll < 0.1:
            return [*tree, tree[index]]
        if roll < 0.15:
            return [*tree[:index], *tree[index + 1 :]]
        if roll < 0.17:
            return tree[:1] * 1100
        return [*tree[:index], _change(rng, tree[index], others), *tree[index + 1 :]]
    if isinstance(tree, str) and tree and rng.random() < 0.3:
        at = rng.randint(0, len(tree))
        return (
            tree[:at]
            + rng.choice(("", "-", ".", "/", " ", "A", "é", "\0", "0", "%", "$", tree))
            + tree[at + rng.randint(0, 2) :]
        )
    if isinstance(tree, int) and not isinstance(tree, bool) and rng.random() < 0.3:
        return rng.choice((tree + 1, -tree, tree * 2**20, 0, 65536, 100))
    if others and rng.random() < 0.15:
        return _part(rng, rng.choice(others))
    return rng.choice(ODD)


def _part(rng: random.Random, tree: Any) -> Any:
    """A random node of a tree."""
    while tree and isinstance(tree, dict | list) and rng.random() < 0.8:
        tree = rng.choice(list(tree.values()) if isinstance(tree, dict) else tree)
    return tree
