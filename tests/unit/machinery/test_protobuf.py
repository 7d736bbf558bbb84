"""The table-driven codec, as the CRI uses it (proto3)."""

from __future__ import annotations

import pytest

from navarch.machinery.protobuf import Tables

CRI = Tables(
    {
        "Outer": "name=1:string inner=2:Inner many=3:[]Inner labels=4:map<string,string> numbers=5:[]int64 "
        "blob=6:bytes flag=7:bool ratio=8:double counts=9:map<int64> big=200:uint64 maybe=10:int32?",
        "Inner": "id=1:int32 again=2:Inner",
    }
)


@pytest.mark.parametrize(
    ("tree", "data"),
    [
        ({}, ""),
        ({"name": "ab"}, "0a026162"),
        ({"inner": {"id": -1}}, "120b08ffffffffffffffffff01"),
        ({"many": [{"id": 1}, {}]}, "1a0208011a00"),
        ({"labels": {"a": "b"}}, "22060a016112" + "0162"),
        ({"numbers": [1, 300]}, "2a0301ac02"),
        ({"blob": b"\x00\xff"}, "320200ff"),
        ({"flag": True}, "3801"),
        ({"ratio": 1.0}, "41000000000000f03f"),
        ({"counts": {"x": 2}}, "4a050a01781002"),
        ({"big": 2**64 - 1}, "c00cffffffffffffffffff01"),
        ({"maybe": 0}, "5000"),
    ],
)
def test_known_encodings(tree: dict[str, object], data: str) -> None:
    assert CRI.encode("Outer", tree).hex() == data
    assert CRI.decode("Outer", bytes.fromhex(data)) == tree


def test_zeros_are_left_out_and_unknown_fields_skipped() -> None:
    assert CRI.encode("Outer", {"name": "", "flag": False, "numbers": [], "labels": {}}) == b""
    assert CRI.decode("Outer", bytes.fromhex("a80601" + "b20602ffff" + "0a0161")) == {"name": "a"}


def test_unpacked_numbers_are_read_too() -> None:
    assert CRI.decode("Outer", bytes.fromhex("28012802")) == {"numbers": [1, 2]}


@pytest.mark.parametrize("data", ["0a05", "0a056161", "08", "ff", "1205", "0b", "00", "2a02ff", "12" + "ff" * 11])
def test_bad_input_is_a_value_error(data: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CRI.decode("Outer", bytes.fromhex(data))


def test_nesting_is_bounded() -> None:
    node = b""
    for _ in range(60):
        node = b"\x12" + bytes([len(node)]) + node if len(node) < 128 else node
    assert CRI.decode("Inner", node)
    with pytest.raises(KeyError):
        CRI.decode("Nothing", b"")
