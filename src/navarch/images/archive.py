"""Writing a one-layer image archive in Docker's format (`docker save`), which every runtime imports."""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image to write: its name, what is in it, and how it runs."""

    name: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Path -> content. Executable where the path is in a bin directory or a library."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path -> target of a symbolic link."""
    directories: Mapping[str, int] = field(default_factory=dict)
    """Path -> mode."""
    command: Sequence[str] = ()
    entrypoint: Sequence[str] = ()
    ports: Sequence[str] = ()
    """Like `80/tcp`."""
    stop_signal: str = ""


def layer(image: Image) -> bytes:
    """The layer's tar: sorted, without times or owners, so that the same input gives the same digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, mode in sorted(_with_parents(image).items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for path, content in sorted(image.files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755 if "bin/" in path or "lib" in path.split("/")[0] else 0o644
            if path.startswith("usr/lib"):
                entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(content))
        for path, target in sorted(image.links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()


def write(image: Image, path: Path) -> None:
    """Writes the archive, as a whole or not at all."""
    data = layer(image)
    process: dict[str, object] = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": list(image.command),
    }
    if image.entrypoint:
        process["Entrypoint"] = list(image.entrypoint)
    if image.ports:
        process["ExposedPorts"] = {port: {} for port in image.ports}
    if image.stop_signal:
        process["StopSignal"] = image.stop_signal
    config = orjson.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": process,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]},
            "history": [{"created_by": "navarch"}],
        }
    )
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = orjson.dumps([{"Config": config_name, "RepoTags": [image.name], "Layers": ["layer.tar"]}])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with tarfile.open(temporary, "w") as tar:
        for name, content in ((config_name, config), ("layer.tar", data), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    temporary.replace(path)


def _with_parents(image: Image) -> dict[str, int]:
    """Every directory the layer needs: those named, and the parents of everything in it."""
    found = dict(image.directories)
    for path in [*image.files, *image.links, *image.directories]:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            found.setdefault("/".join(parts[:depth]), 0o755)
    for path in image.links:
        found.pop(path, None)
    return found
