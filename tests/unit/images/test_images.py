"""Image archives: what a runtime finds in them."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

from navarch.images.archive import Image, write
from navarch.images.debian import needed, with_libraries


def test_an_archive_holds_one_image_that_a_runtime_can_check(tmp_path: Path) -> None:
    image = Image(
        name="demo:1",
        files={"bin/tool": b"x", "etc/conf": b"y"},
        links={"bin/alias": "tool"},
        directories={"tmp": 0o1777},
        command=["tool"],
        ports=["80/tcp"],
    )
    write(image, tmp_path / "demo.tar")
    with tarfile.open(tmp_path / "demo.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    manifest = json.loads(members["manifest.json"])[0]
    assert manifest["RepoTags"] == ["demo:1"]
    config = json.loads(members[manifest["Config"]])
    layer = members[manifest["Layers"][0]]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert config["config"]["Cmd"] == ["tool"] and config["config"]["ExposedPorts"] == {"80/tcp": {}}
    with tarfile.open(fileobj=io.BytesIO(layer)) as inner:
        modes = {m.name: (m.type, m.mode) for m in inner}
    assert modes["bin/tool"] == (tarfile.REGTYPE, 0o755)
    assert modes["etc/conf"] == (tarfile.REGTYPE, 0o644)
    assert modes["tmp"] == (tarfile.DIRTYPE, 0o1777)
    assert modes["bin/alias"][0] == tarfile.SYMTYPE


def test_the_same_image_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write(Image(name="demo:1", files={"bin/tool": b"x"}), tmp_path / name)

    def contents(name: str) -> list[tuple[str, bytes]]:
        with tarfile.open(tmp_path / name) as tar:
            return [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]

    assert contents("a.tar") == contents("b.tar")


def test_libraries_are_found_by_what_elf_files_ask_for() -> None:
    python = Path(sys.executable).resolve().read_bytes()
    names = needed(python)
    assert any(name.startswith("ld-linux") for name in names) and any("libc.so" in name for name in names)
    assert needed(b"#!/bin/sh\n") == []
    available: dict[str, bytes | str] = {"usr/bin/python": python}
    for name in names:
        available[f"usr/lib/{name}"] = f"real-{name}"
        available[f"usr/lib/real-{name}"] = b"a library"
    picked = with_libraries(["usr/bin/python"], available)
    assert {path.rpartition("/")[2] for path in picked} == {"python", *names}
