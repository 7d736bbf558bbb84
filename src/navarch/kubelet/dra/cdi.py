"""The Container Device Interface: what a device's name stands for, from the files that drivers write.

The runtime's own support came with containerd 1.7; here the edits are put into the container's configuration, which every
runtime understands. Source: the CDI specification (container-device-interface SPEC.md); hooks are not among what is known.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from navarch.machinery.decode import parse_yaml
from navarch.machinery.errors import StatusError

log = logging.getLogger(__name__)
FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""The later ones win."""
LONGEST = 1 << 20
Tree = dict[str, Any]


class CdiError(Exception):
    """A device's name stands for nothing, or for what cannot be done here."""


def edits_of(names: Iterable[str], folders: Sequence[Path] = FOLDERS) -> Tree:
    """What containers get with devices (`vendor.com/class=name`): `envs`, `mounts` and `devices` as the CRI has them.
    Raises CdiError."""
    made: Tree = {"envs": {}, "mounts": [], "devices": []}
    specs = _specs(folders)
    done: set[str] = set()
    for name in names:
        kind, _, device = name.partition("=")
        spec = specs.get(kind, {})
        found = next((each for each in spec.get("devices") or () if each.get("name") == device), None)
        if found is None:
            raise CdiError(f"unresolvable CDI devices {name}")
        if kind not in done:
            done.add(kind)
            _put(spec.get("containerEdits") or {}, made)
        _put(found.get("containerEdits") or {}, made)
    return made


def _specs(folders: Sequence[Path]) -> dict[str, Tree]:
    """Kind -> its specification, the devices of all files together."""
    found: dict[str, Tree] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix not in (".json", ".yaml", ".yml") or path.stat().st_size > LONGEST:
                continue
            try:
                spec = parse_yaml(path.read_bytes())
                kind, devices = spec["kind"], list(spec.get("devices") or ())
            except (OSError, StatusError, KeyError, TypeError, AttributeError) as error:
                log.warning("CDI specification %s: %s", path, error)
                continue
            names = {device.get("name") for device in devices}
            before = found.get(kind, {})
            kept = [device for device in before.get("devices") or () if device.get("name") not in names]
            found[kind] = {**before, **spec, "devices": [*kept, *devices]}
    return found


def _put(edits: Tree, made: Tree) -> None:
    if edits.get("hooks"):
        raise CdiError("CDI hooks are not supported by this runtime")
    for pair in edits.get("env") or ():
        name, _, value = pair.partition("=")
        made["envs"][name] = value
    for node in edits.get("deviceNodes") or ():
        host = node.get("hostPath") or node["path"]
        permissions = node.get("permissions") or "rwm"
        made["devices"].append({"container_path": node["path"], "host_path": host, "permissions": permissions})
    for mount in edits.get("mounts") or ():
        made["mounts"].append(
            {
                "container_path": mount["containerPath"],
                "host_path": mount["hostPath"],
                "readonly": "ro" in (mount.get("options") or ()),
            }
        )
