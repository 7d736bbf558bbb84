"""From API objects to the files that a volume shows: pure functions. Source: upstream's configmap, secret, downwardapi
and projected volume plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from navarch.kubelet.env import ConfigError, decoded, field_value, resource_value
from navarch.machinery.types import Obj

DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """A volume cannot be made (yet); the message is for people."""


class File(NamedTuple):
    data: bytes
    mode: int
    owner: int | None = None
    """User id; None: root."""


Payload = dict[str, File]
"""Path within the volume -> file."""
Look = Callable[[str, str, str], "Obj | None"]
"""(kind, namespace, name) -> the ConfigMap or Secret, or None."""


def keys_payload(source: Obj, obj: Obj | None, kind: str, name: str, mode: int) -> Payload:
    """A ConfigMap's or Secret's keys: all of them, or those that `items` names. Raises VolumeError."""
    optional = bool(source.get("optional"))
    if obj is None:
        if optional:
            return {}
        raise VolumeError(f'{kind} "{name}" not found')
    values = _values(obj)
    items = source.get("items")
    if not items:
        return {key: File(data, mode) for key, data in values.items()}
    found: Payload = {}
    for item in items:
        if item["key"] in values:
            found[item["path"]] = File(values[item["key"]], _mode(item, mode))
        elif not optional:
            word = "config key" if kind == "configmap" else "secret key"
            raise VolumeError(f"references non-existent {word}: {item['key']}")
    return found


def _values(obj: Obj) -> dict[str, bytes]:
    if obj["kind"] == "Secret":
        return {key: decoded(value) for key, value in (obj.get("data") or {}).items()}
    found = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return found | {key: decoded(value) for key, value in (obj.get("binaryData") or {}).items()}


def _mode(item: Obj, default: int) -> int:
    mode = item.get("mode")
    return default if mode is None else mode


def config_map(volume: Obj, namespace: str, look: Look) -> Payload:
    source = volume["configMap"]
    obj = look("ConfigMap", namespace, source["name"])
    return keys_payload(source, obj, "configmap", source["name"], source.get("defaultMode", DEFAULT_MODE))


def secret(volume: Obj, namespace: str, look: Look) -> Payload:
    source = volume["secret"]
    obj = look("Secret", namespace, source["secretName"])
    return keys_payload(source, obj, "secret", source["secretName"], source.get("defaultMode", DEFAULT_MODE))


def downward(source: Obj, pod: Obj, node: Mapping[str, Any], mode: int) -> Payload:
    """Files of the downward API. Raises VolumeError."""
    found: Payload = {}
    for item in source.get("items") or []:
        try:
            if reference := item.get("fieldRef"):
                text = field_value(pod, reference["fieldPath"])
            else:
                text = resource_value(pod, item["resourceFieldRef"], None, node)
        except ConfigError as error:
            raise VolumeError(str(error)) from None
        found[item["path"]] = File(text.encode(), _mode(item, mode))
    return found


def projected(volume: Obj, pod: Obj, look: Look, node: Mapping[str, Any], token: Callable[[Obj], str]) -> Payload:
    """Several sources in one volume; `token` answers a serviceAccountToken source. Raises VolumeError."""
    source, namespace = volume["projected"], pod["metadata"]["namespace"]
    mode = source.get("defaultMode", DEFAULT_MODE)
    found: Payload = {}
    for part in source.get("sources") or []:
        if "configMap" in part:
            named = part["configMap"]
            obj = look("ConfigMap", namespace, named["name"])
            found |= keys_payload(named, obj, "configmap", named["name"], mode)
        elif "secret" in part:
            named = part["secret"]
            obj = look("Secret", namespace, named["name"])
            found |= keys_payload(named, obj, "secret", named["name"], mode)
        elif "downwardAPI" in part:
            found |= downward(part["downwardAPI"] or {}, pod, node, mode)
        elif "serviceAccountToken" in part:
            wanted = part["serviceAccountToken"]
            found[wanted["path"]] = _token_file(token(wanted), pod, mode)
        else:
            raise VolumeError(f"projected source {', '.join(part)} is not supported")
    return found


def _token_file(text: str, pod: Obj, mode: int) -> File:
    """Readable by the group, or by the one user that all containers run as, and then by nobody else."""
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    user = common_user(pod)
    return File(text.encode(), 0o600 if user is not None or group is not None else mode, user)


def common_user(pod: Obj) -> int | None:
    """The user id that every container runs as; None where they differ or do not say."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
    own = [(c.get("securityContext") or {}).get("runAsUser") for c in containers]
    users = {shared if user is None else user for user in own}
    return users.pop() if len(users) == 1 else None
