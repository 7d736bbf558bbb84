"""Expressions of admission: what they may name, what they must give. Source: apiserver's admission/plugin/cel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from navarch.machinery.cel.types import (
    AUTHORIZER,
    BOOL,
    DYN,
    INT,
    NULL,
    RESOURCE_CHECK,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
    object_of,
)
from navarch.machinery.errors import FieldErrors

if TYPE_CHECKING:
    from navarch.machinery.cel.environment import Program


def _of(name: str, /, **fields: Type) -> Type:
    return object_of(f"kubernetes.{name}", fields)


_GROUP_KIND = _of("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_GROUP_RESOURCE = _of("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
REQUEST = _of(
    "AdmissionRequest",
    kind=_GROUP_KIND,
    resource=_GROUP_RESOURCE,
    subResource=STRING,
    requestKind=_GROUP_KIND,
    requestResource=_GROUP_RESOURCE,
    requestSubResource=STRING,
    name=STRING,
    namespace=STRING,
    operation=STRING,
    userInfo=_of(
        "UserInfo",
        username=STRING,
        uid=STRING,
        groups=list_of(STRING),
        extra=map_of(STRING, list_of(STRING)),
    ),
    dryRun=BOOL,
    options=DYN,
)
_CONDITION = _of(
    "NamespaceCondition",
    status=STRING,
    type=STRING,
    lastTransitionTime=TIMESTAMP,
    message=STRING,
    reason=STRING,
)
NAMESPACE = _of(
    "Namespace",
    metadata=_of(
        "NamespaceMetadata",
        name=STRING,
        generateName=STRING,
        namespace=STRING,
        labels=map_of(STRING, STRING),
        annotations=map_of(STRING, STRING),
        UID=STRING,
        creationTimestamp=TIMESTAMP,
        deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP,
        generation=INT,
        resourceVersion=STRING,
        finalizers=list_of(STRING),
    ),
    spec=_of("NamespaceSpec", finalizers=list_of(STRING)),
    status=_of("NamespaceStatus", conditions=list_of(_CONDITION), phase=STRING),
)
PATCH = object_of("JSONPatch", {"op": STRING, "path": STRING, "from": STRING, "value": DYN})
PATCHES = list_of(PATCH)


class _AnyField(Mapping[str, Type]):
    """The fields of an object that no schema describes: all there are, of any type."""

    def __getitem__(self, key: str) -> Type:
        return DYN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


APPLIED = object_of("Object", _AnyField())


class _PatchTypes(Mapping[str, Type]):
    """`JSONPatch`, and `Object` with the types of its parts (`Object.spec.containers`)."""

    def __getitem__(self, key: str) -> Type:
        if key == PATCH.name:
            return PATCH
        if key == APPLIED.name or key.startswith(f"{APPLIED.name}."):
            return object_of(key, _AnyField())
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter((PATCH.name, APPLIED.name))

    def __len__(self) -> int:
        return 2


PATCH_TYPES = _PatchTypes()
ANYTHING: tuple[Type, ...] = ()
TEXT, TEXT_OR_NULL, CONDITION = (STRING,), (STRING, NULL), (BOOL,)


class Scope:
    """What the expressions of one policy or webhook may name; variables of the policy come one after the other."""

    def __init__(
        self, *, params: bool = False, composed: bool = False, known: Mapping[str, Type] | None = None
    ) -> None:
        """`known`: types of `object`, `oldObject` and `params`, where they are."""
        self.variables: dict[str, Type] = {}
        self._params, self._composed, self._known = params, composed, known or {}

    def declared(self, *, params: bool | None = None, authorizer: bool = True) -> dict[str, Type]:
        """Type by name."""
        names = {"object": DYN, "oldObject": DYN, "namespaceObject": NAMESPACE, "request": REQUEST}
        if self._params if params is None else params:
            names["params"] = DYN
        names |= {name: found for name, found in self._known.items() if name in names}
        if authorizer:
            names["authorizer"] = AUTHORIZER
            names["authorizer.requestResource"] = RESOURCE_CHECK
        if self._composed:
            names["variables"] = object_of("kubernetes.variables", dict(self.variables))
        return names

    def compile(
        self,
        text: str,
        wanted: tuple[Type, ...],
        *,
        params: bool | None = None,
        authorizer: bool = True,
        structs: Mapping[str, Type] | None = None,
    ) -> Program:
        """A program that gives one of the wanted types (none: any). Raises ValueError in upstream's words."""
        from navarch.machinery.cel.environment import compile_expression  # lazily: no start needs it
        from navarch.machinery.cel.syntax import CompileError, failure

        try:
            program = compile_expression(
                text, self.declared(params=params, authorizer=authorizer), DYN, structs=structs
            )
        except CompileError as error:
            raise ValueError(failure(error)) from None
        if wanted and program.type not in wanted:
            if len(wanted) == 1:
                raise ValueError(f"must evaluate to {wanted[0]} but got {program.type}")
            raise ValueError(f"must evaluate to one of [{' '.join(map(str, wanted))}] but got {program.type}")
        return program

    def check(
        self,
        text: str,
        wanted: tuple[Type, ...],
        path: str,
        errs: FieldErrors,
        *,
        shown: str = "",
        params: bool | None = None,
        authorizer: bool = True,
        structs: Mapping[str, Type] | None = None,
    ) -> Program | None:
        """Adds an error where it does not compile; `shown` is the text as it was given, where that differs."""
        try:
            return self.compile(text, wanted, params=params, authorizer=authorizer, structs=structs)
        except ValueError as error:
            errs.invalid(path, shown or text, str(error))
            return None
