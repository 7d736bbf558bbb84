"""Validation of a pod's volumes, of every type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from navarch.api.podspec import checks
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
        errs.forbidden(f"{path}.{kind}", TWO_TYPES)
    kind = chosen[0]
    if check := CHECKS.get(kind):
        check(volume[kind], f"{path}.{kind}", errs)
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
        if (bundle := projection.get("clusterTrustBundle")) is not None:
            _trust_bundle(bundle, f"{at}.clusterTrustBundle", errs)
            take(bundle.get("path"), bundle.get("path", ""))
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


def _trust_bundle(bundle: Obj, path: str, errs: FieldErrors) -> None:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        errs.invalid(path, bundle, "only one of name and signerName may be used")
    elif name is None and signer is None:
        errs.required(path, "either name or signerName must be specified")
    checks.label_selector(errs, f"{path}.labelSelector", bundle.get("labelSelector"))
    checks.required(errs, path, bundle, "path")
    checks.non_reserved_path(errs, f"{path}.path", bundle.get("path") or "")


def _nfs(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "server", "path")
    if not (where := source.get("path") or "").startswith("/"):
        errs.invalid(f"{path}.path", where, "must be an absolute path")


def _partitioned(name: str) -> Check:
    """A cloud disk: its identifying field, and a partition number."""

    def check(source: Obj, path: str, errs: FieldErrors) -> None:
        checks.required(errs, path, source, name)
        checks.in_range(errs, f"{path}.partition", source.get("partition"), 0, 255)

    return check


def _iscsi(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "targetPortal", "iqn")
    lun = source.get("lun") or 0
    checks.in_range(errs, f"{path}.lun", lun, 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errs.required(f"{path}.secretRef")


def _csi(source: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, source, "driver")
    ref = source.get("nodePublishSecretRef")
    if ref is not None:
        checks.required(errs, f"{path}.nodePublishSecretRef", ref, "name")


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
    spec, at = template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec"
    if not spec.get("accessModes"):
        errs.required(f"{at}.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        errs.required(f"{at}.resources[storage]")


CHECKS: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _partitioned("pdName"),
    "awsElasticBlockStore": _partitioned("volumeID"),
    "secret": _keyed("secretName"),
    "configMap": _keyed("name"),
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _needs("volumeID"),
    "cephfs": _needs("monitors"),
    "quobyte": _needs("registry", "volume"),
    "downwardAPI": _downward,
    "fc": _fc,
    "flexVolume": _needs("driver"),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": _needs("volumeName"),
    "projected": _projected,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
    "ephemeral": _claim_template,
    "image": _image,
}
