"""Custom objects between versions: nothing but another apiVersion, or what a webhook makes of them.

A webhook is asked while other code waits for nothing: who needs an object in a version that it is not known in yet raises
`NotConverted`, and is run again when `fill` has returned. Answers are remembered. Source: apiextensions' conversion package.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson

from navarch.api.meta import validate_annotations, validate_labels
from navarch.apiserver.webhooks import WebhookError, Webhooks
from navarch.machinery import errors, trees
from navarch.machinery.clock import World
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

T = TypeVar("T")
TIMEOUT = 30.0
REMEMBERED = 8_192
"""Converted objects that are kept for each definition."""
BATCH = 500
"""Objects that a webhook is asked about at once."""
ATTEMPTS = 60


class NotConverted(Exception):
    """Objects are needed in a version that they are not known in. Await `fill`, then try again."""

    def __init__(self, conversion: Conversion, objs: Sequence[Obj], version: str) -> None:
        super().__init__(f"{len(objs)} objects are needed as {version}")
        self._conversion, self._objs, self._version = conversion, objs, version

    async def fill(self) -> None:
        """Asks the webhook. Raises StatusError 500 where it fails."""
        await self._conversion.fill(self._objs, self._version)


async def converting(attempt: Callable[[], Awaitable[T]]) -> T:
    """Runs what may need conversions, again after each."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except NotConverted as missing:
            await missing.fill()
    raise errors.internal("objects change faster than they can be converted")


class Conversion:
    """The strategy None: only apiVersion changes."""

    async def fill(self, objs: Sequence[Obj], version: str) -> None:
        """Nothing has to be asked."""

    def converted(self, objs: Sequence[Obj], version: str) -> list[Obj]:
        """The objects as of `version` (group/version); shares their parts. Raises NotConverted."""
        return [obj if obj["apiVersion"] == version else {**obj, "apiVersion": version} for obj in objs]

    async def convert(self, obj: Obj, version: str) -> Obj:
        return self.converted([obj], version)[0]


class WebhookConversion(Conversion):
    """The strategy Webhook."""

    def __init__(self, name: str, webhook: Obj, webhooks: Webhooks, world: World) -> None:
        self._name = name
        self._client: Obj = webhook["clientConfig"]
        self._review = next(v for v in webhook["conversionReviewVersions"] if v in ("v1", "v1beta1"))
        self._webhooks = webhooks
        self._world = world
        self._known: OrderedDict[tuple[str, bytes], Obj] = OrderedDict()

    def converted(self, objs: Sequence[Obj], version: str) -> list[Obj]:
        found: list[Obj] = []
        missing: list[Obj] = []
        for obj in objs:
            known = obj if obj["apiVersion"] == version else self._known.get(_key(obj, version))
            if known is None:
                missing.append(obj)
            else:
                found.append(known)
        if missing:
            raise NotConverted(self, missing, version)
        return found

    async def convert(self, obj: Obj, version: str) -> Obj:
        async def attempt() -> Obj:
            return self.converted([obj], version)[0]

        return await converting(attempt)

    async def fill(self, objs: Sequence[Obj], version: str) -> None:
        for start in range(0, len(objs), BATCH):
            batch = objs[start : start + BATCH]
            try:
                made = await self._ask(batch, version)
            except WebhookError as error:
                raise errors.internal(f"conversion webhook for {_gvk(batch[0])} failed: {error}") from None
            for obj, out in zip(batch, made, strict=True):
                self._known[_key(obj, version)] = out
        while len(self._known) > REMEMBERED + len(objs):
            self._known.popitem(last=False)

    async def _ask(self, objs: Sequence[Obj], version: str) -> list[Obj]:
        uid = self._world.uid()
        request = {"uid": uid, "desiredAPIVersion": version, "objects": objs}
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._review}",
            "request": request,
        }
        answer = await self._webhooks.ask(self._client, orjson.dumps(review), TIMEOUT)
        found = self._answered(answer, uid)
        if len(found) != len(objs):
            raise errors.internal(
                f"conversion webhook for {_gvk(objs[0])} returned {len(found)} objects, expected {len(objs)}"
            )
        return [_checked(obj, out, version, index) for index, (obj, out) in enumerate(zip(objs, found, strict=True))]

    def _answered(self, answer: Obj, uid: str) -> list[Any]:
        wanted = f"apiextensions.k8s.io/{self._review}, Kind=ConversionReview"
        got = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
        if got != wanted and self._review == "v1":
            raise WebhookError(f"expected webhook response of {wanted}, got {got}")
        response = answer.get("response")
        if not isinstance(response, dict):
            raise WebhookError("no response provided")
        if self._review == "v1" and response.get("uid", "") != uid:
            raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result: Obj = response.get("result") or {}
        if result.get("status") != "Success":
            status = result.get("status", "")
            raise WebhookError(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        return response.get("convertedObjects") or []


def _key(obj: Obj, version: str) -> tuple[str, bytes]:
    return version, orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)


def _gvk(obj: Obj) -> str:
    return f"{obj['apiVersion']}, Kind={obj['kind']}"


def _checked(obj: Obj, out: Any, version: str, index: int) -> Obj:
    """The converted object, with the metadata that a webhook may not change. Raises StatusError 500."""
    where = f"conversion webhook for {_gvk(obj)} returned invalid"

    def wrong(why: str, what: str = "converted object") -> errors.StatusError:
        return errors.internal(f"{where} {what} at index {index}: {why}")

    if not isinstance(out, dict):
        raise wrong("it is no object")
    tree: Obj = out
    if tree.get("apiVersion") != version:
        raise wrong(f"invalid groupVersion (expected {version}, received {tree.get('apiVersion', '')})")
    if tree.get("kind") != obj["kind"]:
        raise wrong(f"invalid kind (expected {obj['kind']}, received {tree.get('kind', '')})")
    metadata = tree.get("metadata")
    if not isinstance(metadata, dict):
        raise wrong("missing metadata in converted object", "metadata in object")
    before = obj["metadata"]
    for field, name in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if metadata.get(field, "") != before.get(field, ""):
            raise wrong(f"must have the same {name}: {before.get(field, '')} != {metadata.get(field, '')}")
    return {**tree, "metadata": _restored(before, metadata, wrong)}


def _restored(before: Obj, metadata: Obj, wrong: Callable[[str, str], errors.StatusError]) -> Obj:
    """The metadata of before, with the labels and annotations of after."""
    restored = trees.copy(before)
    for field, check in (("labels", validate_labels), ("annotations", validate_annotations)):
        found = metadata.get(field)
        if not found:
            restored.pop(field, None)
            continue
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise wrong(f"invalid metadata.{field} in converted object", "metadata in object")
        if found != before.get(field):
            errs = FieldErrors()
            check(found, f"metadata.{field}", errs)
            if errs:
                raise wrong(", ".join(map(str, errs.items)), "metadata in object")
        restored[field] = found
    return restored
