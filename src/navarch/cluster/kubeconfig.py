"""The user's kubeconfig: a context is merged in at `up` and taken out at `down`, as kind and minikube do."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import yaml

from navarch.cluster.config import DEFAULT_NAME, ClusterConfig
from navarch.cluster.files import write_atomically
from navarch.machinery.types import Obj

SECTIONS = ("clusters", "users", "contexts")


def context_name(config: ClusterConfig) -> str:
    return "navarch" if config.name == DEFAULT_NAME else f"navarch-{config.name}"


def user_file() -> Path:
    """Where kubectl looks: the first path of $KUBECONFIG, else ~/.kube/config of the person behind sudo."""
    if paths := os.environ.get("KUBECONFIG"):
        return Path(paths.split(os.pathsep)[0])
    home = Path(pwd.getpwuid(_owner()[0]).pw_dir) if "SUDO_UID" in os.environ else Path.home()
    return home / ".kube" / "config"


def merge(existing: Obj, own: Obj) -> Obj:
    """`existing` with the entries of `own` added or replaced, and its context made current."""
    merged: Obj = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **existing}
    for section in SECTIONS:
        names = {entry["name"] for entry in own[section]}
        merged[section] = [e for e in existing.get(section) or [] if e.get("name") not in names] + own[section]
    merged["current-context"] = own["current-context"]
    return merged


def without(existing: Obj, name: str) -> Obj:
    """`existing` without the entries called `name`."""
    left = dict(existing)
    for section in SECTIONS:
        left[section] = [e for e in existing.get(section) or [] if e.get("name") != name]
    if left.get("current-context") == name:
        left["current-context"] = ""
    return left


def add_to_user_file(config: ClusterConfig, admin: Obj) -> Path:
    """Merges the cluster's admin kubeconfig into the user's file; returns its path."""
    path = user_file()
    _write(path, merge(_read(path), renamed(admin, context_name(config))))
    return path


def remove_from_user_file(config: ClusterConfig) -> None:
    path = user_file()
    existing = _read(path)
    name = context_name(config)
    if any(entry.get("name") == name for section in SECTIONS for entry in existing.get(section) or []):
        _write(path, without(existing, name))


def renamed(kubeconfig: Obj, name: str) -> Obj:
    """The one-context kubeconfig with cluster, user and context all called `name`."""
    return {
        **kubeconfig,
        "clusters": [{**kubeconfig["clusters"][0], "name": name}],
        "users": [{**kubeconfig["users"][0], "name": name}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _read(path: Path) -> Obj:
    try:
        loaded: Any = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        return {}
    if loaded is not None and not isinstance(loaded, dict):
        raise ValueError(f"{path} is not a kubeconfig")
    return loaded or {}


def _write(path: Path, content: Obj) -> None:
    made = not path.parent.exists()
    write_atomically(path, yaml.safe_dump(content, sort_keys=False), 0o600)
    if "SUDO_UID" in os.environ and "KUBECONFIG" not in os.environ:
        os.chown(path, *_owner())
        if made:
            os.chown(path.parent, *_owner())


def _owner() -> tuple[int, int]:
    return int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0"))
