"""What a kind is: the contract between a kind's file and everything generic.

A kind's file (`api/apps/deployment.py`) holds pure functions and one `Kind` value; `api/scheme.py` lists them. The
registry runs a write in upstream's order (apiserver's registry/generic and the kind's strategy):

    create: decode -> defaults -> prepare_create -> [mutating admission] -> normalise -> validate -> [validating admission]
    update: decode -> defaults -> prepare_update -> [mutating admission] -> normalise -> validate + validate_update -> ...

All functions work on the storage ("hub") version; `Version.decode`/`encode` convert other versions to and from it.
Functions that take an object and return nothing change it in place: the registry hands them a private copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from navarch.api.schemas import schema
from navarch.machinery.errors import FieldErrors
from navarch.machinery.normalise import normalise
from navarch.machinery.schema import Schema
from navarch.machinery.tables import Column, Row
from navarch.machinery.types import GroupKind, GroupResource, GroupVersion, Obj

if TYPE_CHECKING:
    from navarch.api.features import Disable

Mutate = Callable[[Obj], None]
Prepare = Callable[[Obj, Obj], None]
"""(new, old): `new` may be changed."""
Validate = Callable[[Obj, FieldErrors], None]
ValidateUpdate = Callable[[Obj, Obj, FieldErrors], None]
"""(new, old, errors)."""
Warn = Callable[["Obj", "Obj | None"], list[str]]
"""(new, old or None on create) -> texts of Warning headers for a write that is accepted."""
NameRule = Callable[[str], list[str]]
"""A name (or the prefix of a generated one, its last dash masked) -> what is wrong with it."""


def nothing(*_: Any) -> None:
    """The hook of a kind that has nothing to do there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One served version of a kind."""

    group: str
    version: str
    definition: str
    """The name of its schema: `io.k8s.api.apps.v1.Deployment`."""
    decode: Callable[[Obj], Obj] | None = None
    """To the hub version; None where the trees are alike but for apiVersion. May change and return its argument."""
    encode: Callable[[Obj], Obj] | None = None
    """From the hub version; gets an object it must not change."""
    defaults: Mutate | None = None
    """This version's own defaults, run before `decode`; None: the kind's `defaults` run after it."""
    validate_create: Validate = nothing
    """What only writes in this version must fulfil, of the hub's tree."""
    validate_update: ValidateUpdate = nothing
    deprecation: str = ""
    """The text of the Warning header that every answer in this version carries; empty for a current version."""
    shape: Callable[[], Schema] | None = None
    """The schema where it is not the release's: a custom resource's."""
    clean: Callable[[Obj, list[str] | None], Obj] | None = None
    """Brings a decoded tree to the version's form in place of `normalise`, for custom resources."""

    clean_applied: Callable[[Obj], Obj] | None = None
    """The same for the outcome of an apply."""

    gv: GroupVersion = field(init=False)
    api_version: str = field(init=False)
    """As objects say it: `apps/v1`."""

    def __post_init__(self) -> None:
        gv = GroupVersion(self.group, self.version)
        object.__setattr__(self, "gv", gv)
        object.__setattr__(self, "api_version", str(gv))

    @property
    def schema(self) -> Schema:
        return schema(self.definition) if self.shape is None else self.shape()

    def normalised(self, tree: Obj, unknown: list[str] | None = None) -> Obj:
        """The tree in the form that its type gives it; takes ownership. Paths of unknown fields are added to `unknown`.
        Raises StatusError 400."""
        return normalise(self.schema, tree, unknown) if self.clean is None else self.clean(tree, unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """A subresource as discovery lists it. The generic registry serves `status`; every other is looked up by
    (resource, name) among the handlers in apiserver/registry."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    """Group and version of `kind` where they differ from the parent's (`autoscaling/v1` Scale)."""


STATUS_VERBS = ("get", "patch", "update")


def status_of(kind: str) -> Subresource:
    return Subresource(name="status", kind=kind, verbs=STATUS_VERBS)


SCALE = Subresource(name="scale", kind="Scale", verbs=STATUS_VERBS, group="autoscaling", version="v1")

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A built-in kind (a custom resource becomes one too). The first of `versions` is the hub and is what is stored."""

    kind: str
    plural: str
    singular: str = ""
    """Empty: the kind in lower case."""
    listed_as: str = ""
    """The kind of a list; empty: the kind with `List` after it."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    versions: Sequence[Version]
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()

    feature: str = ""
    """The alpha feature without which the kind is not served; empty: it always is."""

    # -- writes
    defaults: Mutate = nothing
    disable: Disable | None = None
    """Drops the fields of features that are off."""
    prepare_create: Mutate = nothing
    """Clears or sets what a client may not choose on create. The registry has already dropped `status` (where there is
    a status subresource), set metadata (uid, creationTimestamp, generation 1 where `has_generation`)."""
    prepare_update: Prepare = nothing
    """Carries over from old what a plain update may not touch. The registry has already kept old `status`, uid and
    creationTimestamp; it bumps metadata.generation when `spec_of(new) != spec_of(old)`."""
    prepare_status_update: Prepare = nothing
    """For the status subresource; the registry has already kept all of old but `status` (and managedFields)."""
    normalise: Mutate = nothing
    """Canonicalize: after mutating admission, before validation."""
    validate: Validate = nothing
    validate_update: ValidateUpdate = nothing
    validates_what_changes: bool = False
    """An update is judged by `validate_update` alone."""
    validate_status_update: ValidateUpdate = nothing
    warnings: Warn | None = None
    name_is_valid: NameRule | None = None
    """What is wrong with metadata.name, one message each; None: the DNS subdomain rule."""
    has_generation: bool = False
    keeps_status_on_create: bool = False
    """A new object brings its status along, though there is a status subresource (nodes register themselves whole)."""
    allow_create_on_update: bool = False
    """PUT to a name that does not exist creates (leases, endpoints, events, rbac objects ... as upstream)."""
    allow_unconditional_update: bool = True
    """PUT without a resourceVersion is taken."""
    graceful_seconds: Callable[[Obj], int | None] | None = None
    """Grace period of a DELETE that names none; None: objects of this kind go at once (only pods linger)."""
    default_propagation: str = "background"
    """What DELETE does to dependents when the options name nothing: `background` or `orphan`."""
    ephemeral: bool = False
    """Never stored: a review or other request-only kind with its own handler (TokenReview, SubjectAccessReview)."""

    # -- reads
    columns: tuple[Column, ...] = ()
    """Empty: NAME and AGE. Name must be the first column."""
    row: Row | None = None
    qualified_finalizers: bool = True
    """Finalizers are the system's own, or have a prefix."""
    typed_items: bool = False
    """Whether the items of a list say their apiVersion and kind: custom resources' do, built-in kinds' do not."""
    fields: Callable[[Obj], Mapping[str, str]] | None = None
    """Selectable fields beyond metadata.name and metadata.namespace: `{"spec.nodeName": ...}`, always the same keys."""

    extra: Mapping[str, Any] = field(default_factory=dict)
    """Facts for one consumer, under that consumer's key (kept rare)."""

    @property
    def hub(self) -> Version:
        return self.versions[0]

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.hub.group, self.kind)

    @property
    def group_resource(self) -> GroupResource:
        return GroupResource(self.hub.group, self.plural)

    @property
    def list_kind(self) -> str:
        return self.listed_as or self.kind + "List"

    def has_subresource(self, name: str) -> bool:
        return any(s.name == name for s in self.subresources)


def spec_of(obj: Obj) -> Obj:
    """What generation counts changes of: everything but metadata and status."""
    return {k: v for k, v in obj.items() if k not in ("metadata", "status", "apiVersion", "kind")}
