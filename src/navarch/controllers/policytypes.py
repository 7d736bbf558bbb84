"""ValidatingAdmissionPolicies are told what their expressions get wrong about the types that they are for.

Sources: upstream's pkg/controller/validatingadmissionpolicystatus, and typechecking.go of apiserver's policy plugin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from navarch.api.admissionregistration.expressions import Scope
from navarch.client.interface import Client, Resource
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Call, Plan, Watch
from navarch.machinery.cel.types import DYN, Type
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

POLICIES = Resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", namespaced=False)
MAX_TYPES = 10
ANY = {"x-kubernetes-int-or-string": True}
"""A schema that tells nothing."""
GVK = "x-kubernetes-group-version-kind"


class Known(NamedTuple):
    """A kind, as upstream writes it, and the type of its objects."""

    title: str
    type: Type


class PolicyTypeController:
    name = "validatingadmissionpolicy-status-controller"

    def __init__(self, client: Client) -> None:
        self._client = client
        self.watches = (Watch(POLICIES, _keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        policy = caches[POLICIES].get("", key.name)
        return policy if policy is not None and is_unchecked(policy) else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        ask = Call("learn the types of what it is for", lambda: self._check(observed))
        return Plan([ask], reasons=["it is new or has changed"])

    async def _check(self, policy: Obj) -> Plan:
        spec = policy.get("spec") or {}
        types = await _types(self._client, spec)
        params = await _params(self._client, spec)
        return written(policy, warnings(spec, types, params))


def is_unchecked(policy: Obj) -> bool:
    seen = (policy.get("status") or {}).get("observedGeneration") or 0
    return seen < policy["metadata"].get("generation", 0)


def written(policy: Obj, found: Sequence[Obj]) -> Plan:
    checking: Obj = {"expressionWarnings": list(found)} if found else {}
    generation = policy["metadata"].get("generation", 0)
    status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": checking}
    write = objects.status_update(POLICIES, policy, status)
    return Plan([write] if write is not None else [], reasons=[f"{len(found)} expressions are doubtful"])


def warnings(spec: Obj, types: Sequence[Known], params: Type | None) -> list[Obj]:
    """An ExpressionWarning for each expression that some type does not suit."""
    found: list[Obj] = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            if not (text := validation.get(field)):
                continue
            wrong = [f"{known.title}: {why}\n" for known in types if (why := _wrong(spec, text, known.type, params))]
            if wrong:
                found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(wrong)})
    return found


def _wrong(spec: Obj, text: str, of: Type, params: Type | None) -> str:
    """Why an expression does not suit objects of a type; empty where it does."""
    known = {"object": of, "oldObject": of, "params": params or DYN}
    scope = Scope(params=spec.get("paramKind") is not None, composed=True, known=known)
    for variable in spec.get("variables") or ():
        try:
            scope.variables[variable["name"]] = scope.compile(variable["expression"], ()).type
        except ValueError:
            scope.variables[variable["name"]] = DYN
    try:
        scope.compile(text, ())
    except ValueError as error:
        return str(error)
    return ""


# -- the types that a policy is for


def named_resources(spec: Obj) -> Iterator[tuple[str, str, str]]:
    """(group, version, plural) of what its rules name; rules with a wildcard name nothing."""
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in name for name in (*groups, *versions)):
            continue
        plurals = sorted(name for name in rule.get("resources") or () if "*" not in name and "/" not in name)
        yield from ((g, v, plural) for g in sorted(groups) for v in sorted(versions) for plural in plurals)


async def _types(client: Client, spec: Obj) -> list[Known]:
    kinds: set[tuple[str, str, str]] = set()
    for group, version, plural in named_resources(spec):
        listed = await _read(client, f"/apis/{group}/{version}" if group else f"/api/{version}")
        kinds.update((group, version, e["kind"]) for e in listed.get("resources") or () if e["name"] == plural)
        if len(kinds) >= MAX_TYPES:
            break
    found: list[Known] = []
    for group, version, kind in sorted(kinds)[:MAX_TYPES]:
        if (known := await _type(client, group, version, kind)) is not None:
            api_version = f"{group}/{version}" if group else f"/{version}"
            found.append(Known(f"{api_version}, Kind={kind}", known))
    return found


async def _params(client: Client, spec: Obj) -> Type | None:
    kind = spec.get("paramKind")
    if not kind:
        return None
    group, _, version = kind.get("apiVersion", "").rpartition("/")
    return await _type(client, group, version, kind.get("kind", ""))


async def _type(client: Client, group: str, version: str, kind: str) -> Type | None:
    path = f"/openapi/v3/apis/{group}/{version}" if group else f"/openapi/v3/api/{version}"
    document = await _read(client, path)
    return declared_type(((document.get("components") or {}).get("schemas") or {}), group, version, kind)


async def _read(client: Client, path: str) -> Any:
    try:
        return await client.raw("GET", path)
    except StatusError as error:
        if error.code in (403, 404):
            return {}
        raise


def declared_type(schemas: Mapping[str, Obj], group: str, version: str, kind: str) -> Type | None:
    """The type of a kind's objects, from the schemas of an OpenAPI document; None where it has none."""
    from navarch.machinery.cel.schematypes import schema_type  # lazily: no start needs it

    wanted = {"group": group, "version": version, "kind": kind}
    schema = next((schema for schema in schemas.values() if wanted in (schema.get(GVK) or ())), None)
    if schema is None:
        return None
    whole = _expanded(schema, schemas, frozenset())
    meta = (whole.get("properties") or {}).get("metadata") or {}
    return schema_type(whole, root=not meta.get("properties"))


def _expanded(schema: Obj, schemas: Mapping[str, Obj], within: frozenset[str]) -> Obj:
    """A schema with what it refers to in its place. What is within itself can be anything."""
    for reference in (schema.get("$ref"), *(part.get("$ref") for part in schema.get("allOf") or ())):
        if reference:
            name = reference.rpartition("/")[2]
            if name in within or name not in schemas:
                return ANY
            return _expanded(schemas[name], schemas, within | {name})
    if schema.get("format") == "int-or-string" or (schema.get("oneOf") and "type" not in schema):
        return ANY
    made = dict(schema)
    if properties := schema.get("properties"):
        made["properties"] = {name: _expanded(one, schemas, within) for name, one in properties.items()}
    for field in ("items", "additionalProperties"):
        if isinstance(schema.get(field), dict):
            made[field] = _expanded(schema[field], schemas, within)
    return made


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None and is_unchecked(new) else ()
