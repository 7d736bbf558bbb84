"""serviceaccounts/token: TokenRequest."""

from __future__ import annotations

from navarch.apiserver.admission.interface import Body
from navarch.apiserver.auth.tokens import ServiceAccountTokens
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.virtual import Virtual
from navarch.machinery import errors
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupKind, GroupResource, GroupVersion, Obj

KIND = GroupKind("authentication.k8s.io", "TokenRequest")
DEFAULT_SECONDS = 3600
MIN_SECONDS, MAX_SECONDS = 600, 1 << 32
PROJECTED_SECONDS = 3607
"""The life that the ServiceAccount plugin asks for pods' tokens ..."""
EXTENDED_SECONDS = 365 * 24 * 3600
"""... which is extended to this for the API server itself: old clients do not reload their token."""
BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class TokenRequest(Virtual):
    """Tokens of the accounts of one registry."""

    definition = "io.k8s.api.authentication.v1.TokenRequest"

    def __init__(
        self, accounts: Registry, registries: dict[GroupResource, Registry], tokens: ServiceAccountTokens, world: World
    ) -> None:
        self._accounts = accounts
        self._registries = registries
        self._tokens = tokens
        self._world = world

    async def create(self, call: Call, body: Obj) -> Obj:
        self._check_address(call, body.get("metadata") or {})
        await self._accounts.review(call, "CREATE", body, Body(KIND.group, "v1", KIND.kind))
        metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
        account = self._accounts.get(call.namespace, call.name).obj
        uid = account["metadata"]["uid"]
        if metadata.get("uid", "") not in ("", uid):
            raise _conflict(
                KIND.kind,
                KIND.group,
                call.name,
                f"the UID in the token request ({metadata['uid']}) does not match the UID of the service account ({uid})",
            )
        now = self._world.now()
        seconds = spec.get("expirationSeconds")
        seconds = DEFAULT_SECONDS if seconds is None else seconds
        audiences: list[str] = spec.get("audiences") or list(self._tokens.audiences)
        _check_seconds(seconds)
        reference = spec.get("boundObjectRef")
        bound = self._bound(call, reference) if reference else {}
        life, warn_after = seconds, 0
        if seconds == PROJECTED_SECONDS and "pod" in bound and set(audiences) <= set(self._tokens.audiences):
            life, warn_after = EXTENDED_SECONDS, seconds
        token = ""
        if not call.dry_run:
            token = self._tokens.issue(call.namespace, account, audiences, life, bound, warn_after)
        return {
            "kind": KIND.kind,
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                **metadata,
                "name": call.name,
                "namespace": call.namespace,
                "uid": uid,
                "creationTimestamp": rfc3339(now),
            },
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
            "status": {"token": token, "expirationTimestamp": rfc3339(now + seconds)},
        }

    def _check_address(self, call: Call, metadata: Obj) -> None:
        for field, wanted in (("name", call.name), ("namespace", call.namespace)):
            found = metadata.get(field, "")
            if found not in ("", wanted):
                errs = FieldErrors()
                errs.invalid(f"metadata.{field}", found, f"must match the service account {field} if specified")
                raise errors.invalid(KIND, call.name, errs)

    def _bound(self, call: Call, reference: Obj) -> Obj:
        """The claims that tie a token to a pod, a secret or a node. Raises 400, 404 and 409."""
        try:
            group, version = GroupVersion.parse(reference.get("apiVersion", ""))
        except ValueError:
            group, version = "", ""
        kind, name = reference.get("kind", ""), reference.get("name", "")
        if group or kind not in BINDABLE:
            raise errors.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        namespace = "" if kind == "Node" else call.namespace
        obj = self._registries[GroupResource("", BINDABLE[kind])].get(namespace, name).obj
        uid = obj["metadata"]["uid"]
        claims: Obj = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod":
            if obj["spec"].get("serviceAccountName", "") != call.name:
                raise errors.bad_request(
                    f'cannot bind token for serviceaccount "{call.name}" to pod running with different serviceaccount '
                    "name."
                )
            if node := obj["spec"].get("nodeName", ""):
                claims["node"] = self._node_claim(node)
        if reference.get("uid", "") not in ("", uid):
            raise _conflict(
                kind,
                group,
                name,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. The "
                "object might have been deleted and then recreated",
            )
        return claims

    def _node_claim(self, name: str) -> Obj:
        registry = self._registries.get(GroupResource("", "nodes"))
        entry = registry.cache.get("", name) if registry else None
        return {"name": name, "uid": entry.obj["metadata"]["uid"]} if entry else {"name": name}


def _conflict(kind: str, group: str, name: str, why: str) -> errors.StatusError:
    return errors.conflict(GroupResource(group, kind), name, why)


def _check_seconds(seconds: int) -> None:
    errs = FieldErrors()
    if seconds < MIN_SECONDS:
        errs.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > MAX_SECONDS:
        errs.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if errs:
        raise errors.invalid(KIND, "", errs)
