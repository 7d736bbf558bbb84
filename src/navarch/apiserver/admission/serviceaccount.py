"""ServiceAccount: every pod runs as a service account of its namespace, and gets its token mounted."""

from __future__ import annotations

from collections.abc import Iterator

from navarch.apiserver.admission.chain import PODS, BasePlugin, creates_pod, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import trees
from navarch.machinery.clock import World, safe_encoded
from navarch.machinery.types import GroupResource, Obj

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""Upstream's hour and seven seconds: tokens of this life are known to come from here, and may be extended."""
MIRROR = "kubernetes.io/config.mirror"
ENFORCE_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
DEFAULT_ATTEMPTS = 10


class ServiceAccount(BasePlugin):
    name = "ServiceAccount"

    def __init__(self, caches: CacheSet, world: World) -> None:
        self._accounts = caches[GroupResource("", "serviceaccounts")]
        self._world = world

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.resource != PODS:
            return False
        if request.operation == "UPDATE":
            return request.subresource == "ephemeralcontainers"
        return request.operation == "CREATE" and not request.subresource

    async def admit(self, request: AdmissionRequest) -> None:
        pod = request.object
        if pod is None or not creates_pod(request) or _is_mirror(pod):
            return
        spec = pod.setdefault("spec", {})
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        account = await self._account(request, spec["serviceAccountName"])
        if _automounts(account, spec):
            _mount_token(spec, safe_encoded(account["metadata"]["uid"][:5]))
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": ref.get("name", "")} for ref in account["imagePullSecrets"]]

    async def validate(self, request: AdmissionRequest) -> None:
        pod = request.object
        assert pod is not None
        if _is_mirror(pod) and request.operation == "CREATE":
            _check_mirror(request, pod)
            return
        name = trees.get(pod, "spec", "serviceAccountName", default="")
        if not name:
            raise refuse(
                request, f"no service account specified for pod {request.namespace}/{pod['metadata'].get('name', '')}"
            )
        account = await self._account(request, name)
        annotations = account["metadata"].get("annotations") or {}
        if annotations.get(ENFORCE_MOUNTABLE, "").lower() in ("1", "t", "true"):
            _limit_secrets(request, account, pod)

    async def _account(self, request: AdmissionRequest, name: str) -> Obj:
        """Waits a little for the default account of a new namespace: its controller is about to make it."""
        for attempt in range(DEFAULT_ATTEMPTS if name == "default" else 1):
            if attempt:
                await self._world.sleep(0.1 + self._world.random().random() / 10)
            if entry := self._accounts.get(request.namespace, name):
                return entry.obj
        where = f"{request.namespace}/{name}"
        raise refuse(request, f'error looking up service account {where}: serviceaccount "{name}" not found')


def _mount_token(spec: Obj, suffix: str) -> None:
    """Mounts a token for every container that has none. An account's pods name the volume alike: what their specs say is
    then the same, and judged once."""
    volumes: list[Obj] = spec.get("volumes") or []
    present = next((v["name"] for v in volumes if v.get("name", "").startswith(VOLUME_PREFIX)), "")
    name = present or VOLUME_PREFIX + suffix
    needed = False
    for container in _containers(spec, "initContainers", "containers"):
        mounts: list[Obj] = container.get("volumeMounts") or []
        if any(m.get("mountPath") == MOUNT_PATH for m in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        needed = True
    if needed and not present:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_source()}]


def _containers(spec: Obj, *lists: str) -> Iterator[Obj]:
    for name in lists:
        yield from spec.get(name) or ()


def _is_mirror(pod: Obj) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _automounts(account: Obj, spec: Obj) -> bool:
    for holder in (spec, account):
        if (choice := holder.get("automountServiceAccountToken")) is not None:
            return bool(choice)
    return True


def _token_source() -> Obj:
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
        "defaultMode": 0o644,
    }


def _check_mirror(request: AdmissionRequest, pod: Obj) -> None:
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        raise refuse(request, "a mirror pod may not reference service accounts")
    if next(_secret_uses(spec), None) or any("secret" in v for v in spec.get("volumes") or ()):
        raise refuse(request, "a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        for source in trees.get(volume, "projected", "sources", default=()):
            if source.get("serviceAccountToken") is not None:
                raise refuse(request, "a mirror pod may not use ServiceAccountToken volume projections")


def _secret_uses(spec: Obj) -> Iterator[tuple[str, str]]:
    """(what refers, the secret's name) for each environment variable or source that reads a secret."""
    kinds = (
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    )
    for field, word in kinds:
        for container in spec.get(field) or ():
            who = f"{word} {container.get('name', '')}"
            for env in container.get("env") or ():
                if ref := trees.get(env, "valueFrom", "secretKeyRef"):
                    yield f"{who} with envVar {env.get('name', '')}", ref.get("name", "")
            for source in container.get("envFrom") or ():
                if ref := source.get("secretRef"):
                    yield f"{who} with envFrom", ref.get("name", "")


def _limit_secrets(request: AdmissionRequest, account: Obj, pod: Obj) -> None:
    spec, name = pod["spec"], account["metadata"]["name"]
    mountable = {ref.get("name", "") for ref in account.get("secrets") or ()}
    pullable = {ref.get("name", "") for ref in account.get("imagePullSecrets") or ()}
    for volume in spec.get("volumes") or ():
        secret = trees.get(volume, "secret", "secretName")
        if secret is not None and secret not in mountable:
            raise refuse(
                request,
                f'volume with secret.secretName="{secret}" is not allowed because service account {name} does not '
                "reference that secret",
            )
    for who, secret in _secret_uses(spec):
        if secret not in mountable:
            raise refuse(
                request,
                f'{who} referencing secret.secretName="{secret}" is not allowed because service account {name} does '
                "not reference that secret",
            )
    for index, ref in enumerate(spec.get("imagePullSecrets") or ()):
        if ref.get("name", "") not in pullable:
            raise refuse(
                request,
                f'imagePullSecrets[{index}].name="{ref.get("name", "")}" is not allowed because service account {name} '
                "does not reference that imagePullSecret",
            )
