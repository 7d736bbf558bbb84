"""What the kubelet reads of its machine for the Node object."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


def facts(root: Path) -> dict[str, Any]:
    """The parts of NodeFacts that do not change while a machine runs; `root` is where pods' data is."""
    memory = meminfo()
    return {
        "cpus": os.cpu_count() or 1,
        "memory": memory.get("MemTotal", 0),
        "swap": memory.get("SwapTotal", 0),
        "storage": _storage(root),
        "huge_pages": _huge_pages(),
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "kernel": platform.release(),
        "os_image": _os_image(),
        "machine_id": _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id"),
        "system_uuid": _read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
    }


def meminfo() -> Mapping[str, int]:
    """/proc/meminfo in bytes."""
    found: dict[str, int] = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words:
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def _storage(root: Path) -> int:
    disk = os.statvfs(root)
    return disk.f_blocks * disk.f_frsize


def _huge_pages() -> dict[str, int]:
    found: dict[str, int] = {}
    for folder in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        size = int(folder.name.removeprefix("hugepages-").removesuffix("kB")) << 10
        name = f"{size >> 30}Gi" if size >= 1 << 30 else f"{size >> 20}Mi" if size >= 1 << 20 else f"{size >> 10}Ki"
        found[name] = int(_read(str(folder / "nr_hugepages")) or "0") * size
    return found


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""
