"""The store's promises (store/interface.py), against every engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from navarch.machinery.clock import RealWorld
from navarch.store.encryption.store import EncryptedStore
from navarch.store.encryption.transformers import AesGcm, Transformer
from navarch.store.interface import (
    ClosedError,
    CompactedError,
    ConflictError,
    Event,
    FutureError,
    Store,
    Write,
)
from navarch.store.memory import MemoryStore
from navarch.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite", "encrypted"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = (
        MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "s.db", RealWorld())
    )
    if request.param == "encrypted":
        opened = EncryptedStore(opened, [("/a", Transformer([AesGcm("key", bytes(32))]))])
    yield opened
    await opened.close()


async def put(store: Store, key: str, value: bytes, expect: int | None = None) -> int:
    return (await store.commit([Write(key, value, expect)])).revision


async def test_a_fresh_store_is_at_revision_one(store: Store) -> None:
    assert store.revision == 1
    assert await store.get("/a") is None


async def test_a_kv_remembers_who_made_and_who_changed_it(store: Store) -> None:
    first = await put(store, "/a", b"1", expect=0)
    second = await put(store, "/a", b"2", expect=first)
    kv = await store.get("/a")
    assert kv == ("/a", b"2", first, second)
    assert second == first + 1 == store.revision


async def test_conflicts_change_nothing_and_show_the_current_state(store: Store) -> None:
    first = await put(store, "/a", b"1")
    with pytest.raises(ConflictError) as conflict:
        await put(store, "/a", b"2", expect=0)
    assert conflict.value.current == ("/a", b"1", first, first)
    with pytest.raises(ConflictError) as missing:
        await put(store, "/b", b"2", expect=7)
    assert missing.value.current is None
    assert store.revision == first


async def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    await put(store, "/a", b"1")
    before = store.revision
    with pytest.raises(ConflictError):
        await store.commit([Write("/b", b"1", 0), Write("/a", b"2", 0)])
    assert await store.get("/b") is None and store.revision == before
    revision = (await store.commit([Write("/b", b"1", 0), Write("/a", None)])).revision
    assert await store.get("/a") is None
    kv = await store.get("/b")
    assert kv and kv.mod_revision == revision


async def test_only_one_of_many_concurrent_writers_wins(store: Store) -> None:
    base = await put(store, "/a", b"0")
    answers = await asyncio.gather(
        *(store.commit([Write("/a", str(i).encode(), base)]) for i in range(50)), return_exceptions=True
    )
    won = [a for a in answers if not isinstance(a, BaseException)]
    lost = [a for a in answers if isinstance(a, ConflictError)]
    assert (len(won), len(lost)) == (1, 49)
    assert all(c.current and c.current.mod_revision == won[0].revision for c in lost)


async def test_ranges_are_ordered_paged_and_counted(store: Store) -> None:
    for name in ("b", "a", "d", "c"):
        await put(store, f"/x/{name}", name.encode())
    await put(store, "/y/a", b"other")
    page = await store.range("/x/", limit=2)
    assert [kv.key for kv in page.kvs] == ["/x/a", "/x/b"]
    assert page.remaining == 2
    rest = await store.range("/x/", start="/x/b\0", revision=page.revision)
    assert [kv.key for kv in rest.kvs] == ["/x/c", "/x/d"]
    assert rest.remaining == 0


async def test_pages_skip_what_is_deleted_and_see_their_revision(store: Store) -> None:
    names = [f"/x/{number:02}" for number in range(30)]
    for name in names:
        await put(store, name, b"1")
    gone = {name for number, name in enumerate(names) if number % 3 != 1}
    for name in gone:
        await store.commit([Write(name, None)])
    at = store.revision
    left = [name for name in names if name not in gone]
    await store.commit([Write(name, None) for name in left[:5]])
    await put(store, names[0], b"2")
    for revision, expected in ((at, left), (store.revision, [names[0], *left[5:]])):
        found: list[str] = []
        start = ""
        while True:
            page = await store.range("/x/", start=start, limit=3, revision=revision)
            quick = await store.range("/x/", start=start, limit=3, revision=revision, counted=False)
            assert quick.kvs == page.kvs and bool(quick.remaining) == bool(page.remaining)
            found += [kv.key for kv in page.kvs]
            assert page.remaining == len(expected) - len(found)
            if not page.remaining:
                break
            start = page.kvs[-1].key + "\0"
        assert found == expected


async def test_old_revisions_can_be_read_until_compacted(store: Store) -> None:
    first = await put(store, "/x/a", b"1")
    await put(store, "/x/a", b"2")
    await store.commit([Write("/x/a", None)])
    await put(store, "/x/b", b"3")
    assert [kv.value for kv in (await store.range("/x/", revision=first)).kvs] == [b"1"]
    old = await store.get("/x/a", first + 1)
    assert old and old.value == b"2"
    assert await store.get("/x/a", first + 2) is None
    await store.compact(first + 2)
    with pytest.raises(CompactedError):
        await store.get("/x/a", first)
    assert [kv.key for kv in (await store.range("/x/", revision=first + 2)).kvs] == []
    with pytest.raises(CompactedError):
        store.watch("/x/", first + 1, lambda events: None)
    with pytest.raises(CompactedError):
        await store.compact(first + 1)


async def test_the_future_is_refused(store: Store) -> None:
    with pytest.raises(FutureError):
        await store.get("/a", 99)
    with pytest.raises(FutureError):
        await store.compact(99)


async def test_watches_are_ordered_complete_and_resumable(store: Store) -> None:
    await put(store, "/w/a", b"1")
    start = store.revision + 1
    live: list[Event] = []
    store.watch("/w/", start, live.extend)
    await asyncio.gather(*(put(store, f"/w/{i % 5}", str(i).encode()) for i in range(100)), put(store, "/other", b"x"))
    await store.commit([Write("/w/0", None), Write("/w/new", b"n")])
    revisions = [event.revision for event in live]
    assert revisions == sorted(revisions) and len(live) == 102
    assert all(event.key.startswith("/w/") for event in live)
    resumed: list[Event] = []
    store.watch("/w/", start, resumed.extend)
    assert resumed == live


async def test_events_show_what_was_before(store: Store) -> None:
    seen: list[Event] = []
    store.watch("/", 0, seen.extend)
    first = await put(store, "/a", b"1")
    second = await put(store, "/a", b"2")
    await store.commit([Write("/a", None)])
    await store.commit([Write("/a", None)])  # nothing there: no event
    assert [(e.value, e.previous and e.previous.value, e.create_revision) for e in seen] == [
        (b"1", None, first),
        (b"2", b"1", first),
        (None, b"2", first),
    ]
    assert seen[1].previous and seen[1].previous.mod_revision == first
    assert second == first + 1


async def test_an_answer_comes_after_its_event(store: Store) -> None:
    seen: list[Event] = []
    handle = store.watch("/", 0, seen.extend)
    revision = await put(store, "/a", b"1")
    assert [e.revision for e in seen] == [revision]
    handle.cancel()
    await put(store, "/a", b"2")
    assert len(seen) == 1


async def test_a_closed_store_acknowledges_nothing(store: Store) -> None:
    await put(store, "/a", b"1")
    await store.close()
    with pytest.raises(ClosedError):
        await put(store, "/a", b"2")


async def test_a_random_history_reads_like_a_dictionary_at_every_revision(store: Store) -> None:
    randomness = random.Random(7)
    model: dict[str, bytes] = {}
    states: dict[int, dict[str, bytes]] = {}
    for i in range(300):
        key = f"/m/{randomness.randrange(20)}"
        value = None if randomness.random() < 0.3 else str(i).encode()
        revision = (await store.commit([Write(key, value)])).revision
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
        states[revision] = dict(model)
    for revision in randomness.sample(sorted(states), 30):
        page = await store.range("/m/", revision=revision)
        assert {kv.key: kv.value for kv in page.kvs} == states[revision]


async def reopened(store: SqliteStore, path: Path) -> SqliteStore:
    await store.close()
    return await SqliteStore.open(path, RealWorld())


async def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await SqliteStore.open(path, RealWorld())
    first = await put(store, "/a", b"1")
    second = await put(store, "/a", b"2")
    await store.commit([Write("/gone", b"x")])
    await store.commit([Write("/gone", None)])
    last = store.revision
    store = await reopened(store, path)
    assert store.revision == last
    assert await store.get("/a") == ("/a", b"2", first, second)
    assert (await store.get("/a", first)) == ("/a", b"1", first, first)
    seen: list[Sequence[Event]] = []
    store.watch("/", first, seen.append)
    assert [e.revision for e in seen[0]] == list(range(first, last + 1))
    await store.compact(last)
    store = await reopened(store, path)
    assert store.compacted == last and store.revision == last
    assert await put(store, "/b", b"3") == last + 1
    await store.close()


async def test_two_processes_cannot_share_a_file(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "s.db", RealWorld())
    with pytest.raises(ClosedError, match="another process"):
        await SqliteStore.open(tmp_path / "s.db", RealWorld())
    await store.close()


async def test_churn_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await SqliteStore.open(path, RealWorld())
    value = b"x" * 10_000
    for round_ in range(60):
        await asyncio.gather(*(put(store, f"/k/{i}", value + str(round_).encode()) for i in range(100)))
    await store.compact(store.revision)
    await store.close()
    live = 100 * 10_000
    assert path.stat().st_size < 2 * live
