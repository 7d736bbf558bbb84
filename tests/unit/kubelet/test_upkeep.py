"""Which images go when the disk is full."""

from __future__ import annotations

from typing import Any

from navarch.kubelet.upkeep import superfluous


def image(id: str, size: int = 10, **more: Any) -> dict[str, Any]:
    return {"id": id, "size": size, "repo_tags": [f"docker.io/library/{id}:latest"], **more}


NOW = 10_000.0
USED = {"old": 100.0, "older": 50.0, "fresh": NOW - 60}


def ids(images: list[dict[str, Any]]) -> list[str]:
    return [i["id"] for i in images]


def test_the_longest_unused_goes_first_and_no_more_than_needed() -> None:
    images = [image("old"), image("older"), image("fresh")]
    assert ids(superfluous(images, USED, (), 5, NOW)) == ["older"]
    assert ids(superfluous(images, USED, (), 15, NOW)) == ["older", "old"]


def test_what_is_used_pinned_or_fresh_stays() -> None:
    images = [image("old"), image("older", pinned=True), image("fresh")]
    assert superfluous(images, USED, {"docker.io/library/old:latest"}, 100, NOW) == []
