"""Fetching Debian packages and picking files out of them, with what those need to run."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

NEVER = re.compile(r"(perl|perl-base|debconf|dpkg|tar|install-info|.*-doc|lsb-base|sysvinit-utils|gcc-.*-base)(:.*)?")
"""Packages that a dependency names but that no file we pick needs."""


class PackageError(Exception):
    """A package could not be had; the message is apt's own."""


def closure(packages: Iterable[str]) -> list[str]:
    """The packages and all that they depend on."""
    listed = _run(
        ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
         "--no-replaces", "--no-enhances", *packages]
    )  # fmt: skip
    found = {line for line in listed.splitlines() if line and not line.startswith((" ", "<"))}
    return sorted(name for name in found if not NEVER.fullmatch(name))


def contents(packages: Iterable[str]) -> dict[str, bytes | str]:
    """All files of the packages: path -> content, or the target of a link. Fetches them with apt."""
    found: dict[str, bytes | str] = {}
    with tempfile.TemporaryDirectory(prefix="navarch-packages-") as directory:
        Path(directory).chmod(0o777)  # apt fetches as a user of its own
        command = ["apt-get", "download", "-q", *packages]
        try:
            _run(command, cwd=directory)
        except PackageError:
            _run(["apt-get", "update", "-q"])
            _run(command, cwd=directory)
        for package in sorted(Path(directory).glob("*.deb")):
            data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    path = member.name.removeprefix("./")
                    if member.isfile() and (file := tar.extractfile(member)):
                        found[path] = file.read()
                    elif member.issym():
                        found[path] = member.linkname
                    elif member.islnk():
                        found[path] = found[member.linkname.removeprefix("./")]
    return found


def with_libraries(paths: Iterable[str], available: dict[str, bytes | str]) -> dict[str, bytes]:
    """The files, and every shared library and loader that they need, found by name among what is available."""
    by_name: dict[str, str] = {}
    for path in available:
        if ".so" in path:
            by_name.setdefault(path.rpartition("/")[2], path)
    picked: dict[str, bytes] = {}
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path in picked:
            continue
        content = _resolve(path, available)
        picked[path] = content
        for name in needed(content):
            if name not in by_name:
                raise PackageError(f"{path} needs {name}, which no fetched package has")
            todo.append(by_name[name])
    return picked


def _resolve(path: str, available: dict[str, bytes | str]) -> bytes:
    content = available[path]
    for _ in range(8):
        if isinstance(content, bytes):
            return content
        target = content.lstrip("/") if content.startswith("/") else f"{path.rpartition('/')[0]}/{content}"
        path, content = target, available[target]
    raise PackageError(f"{path}: too many links")


def needed(elf: bytes) -> list[str]:
    """File names of the libraries and the loader that an ELF file (64 bit, little endian) asks for; [] for any other."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return []
    offset, size, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", elf, offset + i * size) for i in range(count)]
    names: list[str] = []
    for kind, _, start, _, _, length, _, _ in headers:
        if kind == 3:  # PT_INTERP
            names.append(elf[start : start + length].rstrip(b"\0").decode().rpartition("/")[2])
        if kind == 2:  # PT_DYNAMIC
            tags = list(struct.iter_unpack("<qQ", elf[start : start + length - length % 16]))
            table = next((value for tag, value in tags if tag == 5), None)
            if table is None:
                continue
            strings = _file_offset(table, headers)
            for tag, value in tags:
                if tag == 0:
                    break
                if tag == 1:
                    begin = strings + value
                    names.append(elf[begin : elf.index(b"\0", begin)].decode())
    return names


def _file_offset(address: int, headers: list[tuple[int, ...]]) -> int:
    for kind, _, start, virtual, _, length, _, _ in headers:
        if kind == 1 and virtual <= address < virtual + length:  # PT_LOAD
            return start + address - virtual
    raise PackageError("an ELF file with a dynamic section outside its segments")


def _run(command: list[str], cwd: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)
    if done.returncode:
        raise PackageError(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout
