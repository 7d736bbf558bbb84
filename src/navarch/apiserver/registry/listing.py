"""Lists and watches of one resource: which revision they show, pages of a consistent snapshot, selectors.

Sources: the API concepts' tables of resourceVersion semantics, apiserver's storage/continue.go and cacher.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from navarch.api.kind import Kind
from navarch.apiserver.fanout import Encoder, Watcher
from navarch.apiserver.registry.generic import Registry, Selection
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors
from navarch.machinery.selectors import FieldSelector, LabelSelector, parse_field_selector, parse_label_selector
from navarch.machinery.types import Obj
from navarch.store.interface import KV, CompactedError

SNAPSHOT_PAGE = 500
METADATA_FIELDS = ("metadata.name", "metadata.namespace")
TOO_OLD_TO_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(slots=True, kw_only=True)
class ListOptions:
    """metav1.ListOptions, already checked for contradictions."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    match: str = ""
    """resourceVersionMatch: `Exact`, `NotOlderThan` or empty."""
    limit: int = 0
    continue_token: str = ""
    timeout_seconds: int = 0
    bookmarks: bool = False
    send_initial_events: bool | None = None


class Page(NamedTuple):
    revision: int
    entries: Sequence[Entry]
    continue_token: str = ""
    remaining: int | None = None


class ContinueExpiredError(errors.StatusError):
    """410, with a token that goes on inconsistently."""

    def __init__(self, token: str) -> None:
        super().__init__(410, "Expired", TOO_OLD_TO_CONTINUE)
        self.token = token

    def to_status(self) -> Obj:
        status = super().to_status()
        status["metadata"] = {"continue": self.token}
        return status


def select(registry: Registry, namespace: str, options: ListOptions) -> Selection:
    """Compiles the selectors. Raises 400 for one that cannot be read or names a field that is not selectable."""
    labels = _labels(options.label_selector)
    fields = _fields(registry.kind, registry.selectable_fields(), options.field_selector)
    exact = fields.exact() if fields else {}
    name = exact.get("metadata.name", "")
    namespace = namespace or exact.get("metadata.namespace", "")
    bucket: tuple[str, str] | None = None
    for field, value in exact.items():
        if bucket is None or bucket[0] in METADATA_FIELDS:
            bucket = (field, value)
    if bucket is None and namespace:
        bucket = ("metadata.namespace", namespace)
    return Selection(_matcher(labels, fields, namespace), _matcher(labels, fields, ""), namespace, name, bucket)


def selected(kind: Kind, objs: Sequence[Obj], options: ListOptions) -> list[Obj]:
    """What the selectors leave of objects that are not stored. Raises 400 as `select` does."""
    labels, fields = _labels(options.label_selector), _fields(kind, METADATA_FIELDS, options.field_selector)

    def wanted(metadata: Obj) -> bool:
        if labels is not None and not labels.matches(metadata.get("labels") or {}):
            return False
        return fields is None or fields.matches({f"metadata.{f}": metadata.get(f, "") for f in ("name", "namespace")})

    return [obj for obj in objs if wanted(obj["metadata"])]


def _labels(text: str) -> LabelSelector | None:
    if not text:
        return None
    try:
        selector = parse_label_selector(text)
    except ValueError as err:
        raise errors.bad_request(str(err)) from None
    return None if selector.empty else selector


def _fields(kind: Kind, known: Container[str], text: str) -> FieldSelector | None:
    if not text:
        return None
    try:
        selector = parse_field_selector(text)
    except ValueError as err:
        raise errors.bad_request(str(err)) from None
    if selector.empty:
        return None
    for field in selector.fields():
        if field not in known:
            raise errors.bad_request(_unknown_field(kind, field))
    return selector


def _unknown_field(kind: Kind, field: str) -> str:
    if kind.fields is None:
        return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    if kind.kind == "Job":
        return f'field label "{field}" not supported for Job'
    return f"field label not supported: {field}"


def _matcher(
    labels: LabelSelector | None, fields: FieldSelector | None, namespace: str
) -> Callable[[Entry], bool] | None:
    if labels is None and fields is None and not namespace:
        return None

    def matches(entry: Entry) -> bool:
        return (
            (not namespace or entry.namespace == namespace)
            and (labels is None or labels.matches(entry.labels))
            and (fields is None or fields.matches(entry.fields))
        )

    return matches


# -- list


def list_objects(registry: Registry, namespace: str, options: ListOptions, current: int) -> Page | Awaitable[Page]:
    """A page of the objects as of the revision that the options ask for; `current` is the caches' own. Answers at once
    unless the page is of an older revision than the cache holds."""
    selection = select(registry, namespace, options)
    if options.continue_token:
        if options.resource_version not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        start, revision = decode_continue(options.continue_token, registry.cache.prefix)
        kept = revision >= registry.env.store.compacted  # else the token has run out, though nothing may have changed
        if revision < 0 or (kept and registry.cache.unchanged_since(revision)):
            revision = current if revision < 0 else revision
            return _page_of_cache(registry, selection, options, revision, start)
        return _page_of_store(registry, selection, options, revision, start)
    wanted = parse_revision(options.resource_version)
    if wanted > current:
        raise errors.too_large_resource_version(current, wanted)
    exact = options.match == "Exact" or (not options.match and wanted and options.limit > 0)
    if exact and not registry.cache.unchanged_since(wanted):
        return _page_of_store(registry, selection, options, wanted, "")
    return _page_of_cache(registry, selection, options, wanted if exact else current, "")


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; "" is 0."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise errors.bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _page_of_cache(registry: Registry, selection: Selection, options: ListOptions, revision: int, start: str) -> Page:
    cache = registry.cache
    if selection.name and (selection.namespace or not registry.kind.namespaced):
        entry = cache.get(selection.namespace, selection.name)
        entries = [entry] if entry is not None and entry.key >= start else []
    else:
        entries = cache.range(selection.namespace, start[:-1] if start else "")
    if selection.within is not None and entries:
        matches = selection.within
        entries = [e for e in entries if matches(e)]
    limit = options.limit
    if limit <= 0 or options.resource_version == "0" or len(entries) <= limit:
        return Page(revision, entries)
    token = encode_continue(entries[limit - 1].key, cache.prefix, revision)
    unselected = not options.label_selector and not options.field_selector
    return Page(revision, entries[:limit], token, len(entries) - limit if unselected else None)


async def _page_of_store(
    registry: Registry, selection: Selection, options: ListOptions, revision: int, start: str
) -> Page:
    cache, limit = registry.cache, options.limit
    prefix = cache.prefix
    if selection.namespace and registry.kind.namespaced:
        prefix += selection.namespace + "/"
    entries: list[Entry] = []
    kvs: Sequence[KV] = ()
    unselected = not options.label_selector and not options.field_selector
    size = min(SNAPSHOT_PAGE, limit) if limit and unselected else SNAPSHOT_PAGE
    counted = bool(limit) and unselected
    while True:
        try:
            page = await registry.env.store.range(prefix, start=start, limit=size, revision=revision, counted=counted)
        except CompactedError:
            if options.continue_token:
                raise ContinueExpiredError(encode_continue(start[:-1], cache.prefix, -1)) from None
            raise errors.expired(f"The resourceVersion for the provided list is too old: {revision}") from None
        kvs = page.kvs
        for index, kv in enumerate(kvs):
            entry = cache.entry(kv.key, kv.value, kv.mod_revision)
            if selection.matches is not None and not selection.matches(entry):
                continue
            entries.append(entry)
            if limit and len(entries) == limit:
                remaining = page.remaining + len(kvs) - index - 1
                if not remaining:
                    return Page(revision, entries)
                token = encode_continue(kv.key, cache.prefix, revision)
                return Page(revision, entries, token, remaining if unselected else None)
        if not page.remaining:
            return Page(revision, entries)
        start = kvs[-1].key + "\0"


def encode_continue(last_key: str, prefix: str, revision: int) -> str:
    """A token that goes on after `last_key`."""
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": last_key[len(prefix) :] + "\0"}
    return base64.urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def decode_continue(token: str, prefix: str) -> tuple[str, int]:
    """The key to start at, and the revision of the snapshot (-1: whatever is current). Raises 400."""
    try:
        tree: Any = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        start, revision = tree["start"], tree["rv"]
        if tree["v"] != "meta.k8s.io/v1":
            raise errors.bad_request(
                f"continue key is not valid: server does not recognize this encoded version {tree['v']}"
            )
        if not isinstance(start, str) or not isinstance(revision, int):
            raise ValueError("wrong types")
    except (binascii.Error, ValueError, KeyError, TypeError) as err:
        raise errors.bad_request(f"continue key is not valid: {err}") from None
    if revision == 0:
        raise errors.bad_request(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    if not start:
        raise errors.bad_request("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
    if start.startswith("/") or "//" in start or any(part in (".", "..") for part in start.split("/")):
        raise errors.bad_request(f"continue key is not valid: {start}")
    return prefix + start, revision


# -- watch


def open_watch(
    registry: Registry,
    namespace: str,
    options: ListOptions,
    current: int,
    encoder: Encoder,
    sink: Callable[[Sequence[Any]], None],
    closed: Callable[[], None],
) -> Watcher:
    """Starts a watch: `sink` gets batches of what `encoder` makes, `closed` is called if the server ends it.

    Raises 410 where the resourceVersion is older than what can be resumed from."""
    selection = select(registry, namespace, options)
    fanout = registry.cache.fanout
    wanted = parse_revision(options.resource_version)
    if wanted > current:
        raise errors.too_large_resource_version(current, wanted)
    initial = options.send_initial_events if options.send_initial_events is not None else not wanted
    if wanted and not initial and wanted < fanout.floor:
        raise errors.expired(f"too old resource version: {wanted} ({fanout.floor})")
    watcher = registry.watcher(selection, encoder, sink, closed, options.bookmarks)
    if initial:
        entries = registry.unseen(selection)
        if entries is None:
            entries = _page_of_cache(registry, selection, ListOptions(), current, "").entries
        watcher.backlog = list(reversed(entries))
        if options.send_initial_events and options.bookmarks:
            watcher.bookmark_due = current
    fanout.watch(watcher, current if initial or not wanted else wanted)
    return watcher
