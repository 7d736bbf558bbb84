"""Validation of a pod's volumes, of every type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from navarch.api.podspec import checks
from navarch.api.podspec.claims import validate_template
from navarch.api.podspec.environment import VOLUME_FIELDS, field_ref, resource_field_ref
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

Check = Callable[[Obj, str, FieldErrors], None]
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
PATHS = {"gcePersistentDisk": "persistentDisk"}
"""How messages call sources, where not by their field."""
SECOND_PATHS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""How they call them where they are one too many, upstream's slip included."""
_INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9_.-]*)(:[^,;*&$|\s]+)", re.ASCII).fullmatch,
    "eui": re.compile("eui.[0-9A-Za-z]{16}", re.ASCII).fullmatch,
    "naa": re.compile("naa.[0-9A-Za-z]{32}", re.ASCII).fullmatch,
}
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*):[^\[\]:]*")
AZURE_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
AZURE_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
TWO_TYPES = "may not specify more than 1 volume type"


def validate_volumes(volumes: Sequence[Obj], pod_name: str, path: str, errs: FieldErrors) -> dict[str, Obj]:
    """The valid volumes by name. `pod_name` is empty in templates."""
    valid: dict[str, Obj] = {}
    created = {f"{pod_name}-{v.get('name', '')}" for v in volumes if v.get("ephemeral")} if pod_name else set[str]()
    for index, volume in enumerate(volumes):
        at, before = f"{path}[{index}]", len(errs.items)
        name = volume.get("name", "")
        _source(volume, pod_name, at, errs)
        if not name:
            errs.required(f"{at}.name")
        elif messages := names.dns1123_label(name):
            checks.each(errs, f"{at}.name", name, messages)
        if name in valid:
            errs.duplicate(f"{at}.name", name)
        if len(errs.items) == before:
            valid[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in created:
            message = "must not reference a PVC that gets created for an ephemeral volume"
            errs.invalid(f"{at}.persistentVolumeClaim.claimName", claim, message)
    return valid


def _source(volume: Obj, pod_name: str, path: str, errs: FieldErrors) -> None:
    chosen = [key for key, value in volume.items() if key != "name" and value is not None]
    if not chosen:
        errs.required(path, "must specify a volume type")
        return
    for kind in chosen[1:]:
        errs.forbidden(f"{path}.{SECOND_PATHS.get(kind, kind)}", TWO_TYPES)
    kind = chosen[0]
    if check := CHECKS.get(kind):
        check(volume[kind], f"{path}.{PATHS.get(kind, kind)}", errs)
    if kind == "ephemeral" and pod_name and (name := volume.get("name")):
        claim = f"{pod_name}-{name}"
        for message in names.dns1123_subdomain(claim):
            errs.invalid(f"{path}.name", name, f'PVC name "{claim}": {message}')


def _needs(*fields: str) -> Check:
    """A source of which only these fields must be there."""

    def check(source: Obj, path: str, errs: FieldErrors) -> None:
        checks.required(errs, path, source, *fields)

    return check


def _empty_dir(source: Obj, path: str, errs: FieldErrors) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and Quantity.of(limit).sign < 0:
        errs.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(source: Obj, path: str, errs: FieldErrors) -> None:
    if not (where := source.get("path")):
        errs.required(f"{path}.path")
        return
    checks.no_backsteps(errs, f"{path}.path", where)
    if (kind := source.get("type") or "") not in HOST_PATH_TYPES:
        errs.not_supported(f"{path}.type", kind, HOST_PATH_TYPES)


def _git_repo(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "repository")
    checks.descending_path(errs, f"{path}.directory", source.get("directory") or "")


def _items(source: Obj, path: str, errs: FieldErrors) -> None:
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        checks.required(errs, at, item, "key", "path")
        checks.non_reserved_path(errs, f"{at}.path", item.get("path") or "")
        checks.file_mode(errs, f"{at}.mode", item.get("mode"))


def _keyed(name: str) -> Check:
    """A secret or config map: its name's field differs."""

    def check(source: Obj, path: str, errs: FieldErrors) -> None:
        checks.required(errs, path, source, name)
        checks.file_mode(errs, f"{path}.defaultMode", source.get("defaultMode"))
        _items(source, path, errs)

    return check


def _downward_file(item: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, item, "path")
    checks.non_reserved_path(errs, f"{path}.path", item.get("path") or "")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        field_ref(field, VOLUME_FIELDS, f"{path}.fieldRef", errs)
        if resource is not None:
            errs.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif resource is not None:
        resource_field_ref(resource, f"{path}.resourceFieldRef", True, errs)
    else:
        errs.required(path, "one of fieldRef and resourceFieldRef is required")
    checks.file_mode(errs, f"{path}.mode", item.get("mode"))


def _downward(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.file_mode(errs, f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        _downward_file(item, path, errs)


def _projected(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.file_mode(errs, f"{path}.defaultMode", source.get("defaultMode"))
    taken: set[str] = set()

    def take(where: str | None, shown: str) -> None:
        if where:
            if where in taken:
                errs.invalid(path, shown, "conflicting duplicate paths")
            taken.add(where)

    sources: Sequence[Obj] = source.get("sources") or ()
    for index, projection in enumerate(sources):
        at = f"{path}.sources[{index}]"
        chosen = [kind for kind, value in projection.items() if value is not None]
        for kind in ("secret", "configMap"):
            if (part := projection.get(kind)) is not None:
                checks.required(errs, f"{at}.{kind}", part, "name")
                _items(part, f"{at}.{kind}", errs)
                for item in part.get("items") or ():
                    take(item.get("path"), part.get("name", ""))
        for item in (projection.get("downwardAPI") or {}).get("items") or ():
            _downward_file(item, f"{at}.downwardAPI", errs)
            take(item.get("path"), item.get("path", ""))
        if (token := projection.get("serviceAccountToken")) is not None:
            _token(token, f"{at}.serviceAccountToken", path, errs)
        if len(chosen) > 1:
            errs.forbidden(at, TWO_TYPES)


def _token(token: Obj, path: str, volume_path: str, errs: FieldErrors) -> None:
    seconds = token.get("expirationSeconds") or 0
    if seconds < 600:
        errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > 1 << 32:
        errs.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if where := token.get("path"):
        checks.non_reserved_path(errs, f"{volume_path}.path", where)
    else:
        errs.required(f"{volume_path}.path")


def _nfs(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "server", "path")
    if not (where := source.get("path") or "").startswith("/"):
        errs.invalid(f"{path}.path", where, "must be an absolute path")


def _partitioned(name: str) -> Check:
    """A cloud disk: its identifying field, and a partition number."""

    def check(source: Obj, path: str, errs: FieldErrors) -> None:
        checks.required(errs, path, source, name)
        if not 0 <= (source.get("partition") or 0) <= 255:
            errs.invalid(f"{path}.partition", source["partition"], "must be between 1 and 255, inclusive")

    return check


def _initiator(name: str, path: str, errs: FieldErrors, prefixed: str) -> None:
    matches = _INITIATORS.get(name[:3])
    if matches is None or not matches(name):
        errs.invalid(path, name, prefixed if matches is None else "must be valid format")


def validate_iscsi(
    source: Obj, path: str, errs: FieldErrors, prefixed: str = "must be valid format starting with iqn, eui, or naa"
) -> None:
    checks.required(errs, path, source, "targetPortal")
    if target := source.get("iqn"):
        _initiator(target, f"{path}.iqn", errs, prefixed)
    else:
        errs.required(f"{path}.iqn")
    if (initiator := source.get("initiatorName")) is not None:
        _initiator(initiator, f"{path}.initiatorname", errs, prefixed)
    lun = source.get("lun") or 0
    checks.in_range(errs, f"{path}.lun", lun, 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errs.required(f"{path}.secretRef")


def _csi(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.csi_driver(errs, f"{path}.driver", source.get("driver", ""))
    checks.reference(errs, path, source, "nodePublishSecretRef", "name")
    if name := (source.get("nodePublishSecretRef") or {}).get("name"):
        checks.named(errs, f"{path}.name", name, names.dns1123_subdomain)


def validate_flex(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "driver")
    for key in source.get("options") or ():
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            errs.invalid(f"{path}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")


def _quobyte(source: Obj, path: str, errs: FieldErrors) -> None:
    pairs = "must be a host:port pair or multiple pairs separated by commas"
    if not (registry := source.get("registry")):
        errs.required(f"{path}.registry", pairs)
    elif len(source.get("tenant") or "") > 64:
        errs.required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            if not _HOST_PORT.fullmatch(pair):
                errs.invalid(f"{path}.registry", registry, pairs)
    checks.required(errs, path, source, "volume")


def _with_secret(field: str) -> Check:
    """A source with a required field, and a secret that has at least a name."""

    def check(source: Obj, path: str, errs: FieldErrors) -> None:
        checks.required(errs, path, source, field)
        checks.reference(errs, path, source, "secretRef", "name")

    return check


def validate_storageos(source: Obj, path: str, errs: FieldErrors, *needed: str) -> None:
    checks.required(errs, path, source, "volumeName")
    for field in ("volumeName", "volumeNamespace"):
        if name := source.get(field):
            checks.named(errs, f"{path}.{field}", name, names.dns1123_label)
    checks.reference(errs, path, source, "secretRef", "name", *needed)


def _image(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.one_of(errs, f"{path}.pullPolicy", source.get("pullPolicy"), ("Always", "IfNotPresent", "Never"))


def _azure_disk(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "diskName", "diskURI")
    for field, allowed in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if (value := source.get(field)) is not None and value not in allowed:
            errs.not_supported(f"{path}.{field}", value, allowed)
    managed, uri = source.get("kind") == "Managed", source.get("diskURI", "")
    if source.get("kind") is not None and not uri.startswith("/subscriptions/" if managed else "https://"):
        errs.not_supported(f"{path}.diskURI", uri, (AZURE_MANAGED if managed else AZURE_BLOB,))


def _flocker(source: Obj, path: str, errs: FieldErrors) -> None:
    name, uuid = source.get("datasetName"), source.get("datasetUUID")
    if not name and not uuid:
        errs.required(path, "one of datasetName and datasetUUID is required")
    elif name and uuid:
        errs.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if name and "/" in name:
        errs.invalid(f"{path}.datasetName", name, "must not contain '/'")


def _fc(source: Obj, path: str, errs: FieldErrors) -> None:
    world_names, ids = source.get("targetWWNs"), source.get("wwids")
    if not world_names and not ids:
        errs.required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    elif world_names and ids:
        errs.invalid(f"{path}.targetWWNs", world_names, "targetWWNs and wwids can not be specified simultaneously")
    if world_names:
        if (lun := source.get("lun")) is None:
            errs.required(f"{path}.lun", "lun is required if targetWWNs is specified")
        else:
            checks.in_range(errs, f"{path}.lun", lun, 0, 255)


def _claim_template(source: Obj, path: str, errs: FieldErrors) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errs.required(f"{path}.volumeClaimTemplate")
        return
    validate_template(template, f"{path}.volumeClaimTemplate", errs)


CHECKS: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _partitioned("pdName"),
    "awsElasticBlockStore": _partitioned("volumeID"),
    "secret": _keyed("secretName"),
    "configMap": _keyed("name"),
    "nfs": _nfs,
    "iscsi": validate_iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _with_secret("volumeID"),
    "cephfs": _needs("monitors"),
    "quobyte": _quobyte,
    "downwardAPI": _downward,
    "fc": _fc,
    "flexVolume": validate_flex,
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": validate_storageos,
    "projected": _projected,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
    "ephemeral": _claim_template,
    "image": _image,
}
