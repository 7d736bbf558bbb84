"""Priority and fairness as clients meet it: an API server whose store is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.hollow import until
from tests.support.requests import exchange

from navarch.apiserver.request import Response, User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.resources import FLOW_SCHEMAS, PRIORITY_LEVELS
from navarch.machinery.types import GroupResource
from navarch.store.interface import Committed, Write
from navarch.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
AUTHENTICATED = ("system:authenticated",)
TOKENS = {
    "root": User("root", groups=("system:masters", *AUTHENTICATED)),
    **{name: User(name, groups=("writers", *AUTHENTICATED)) for name in ("jane", "joe")},
}


class Gate(MemoryStore):
    """Commits wait until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def commit(self, writes: Sequence[Write]) -> Committed:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        return await super().commit(writes)


@asynccontextmanager
async def slow(**config: Any) -> AsyncIterator[tuple[ApiServer, Gate]]:
    """A server on which jane and joe may write, in a priority level of two seats and two queues of two."""
    gate = Gate()
    async with api_server(store=gate, config=ApiServerConfig(fixed_tokens=TOKENS, **config)) as server:
        queuing = {"queues": 2, "handSize": 1, "queueLengthLimit": 2}
        limited = {"nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0}
        limited |= {"limitResponse": {"type": "Queue", "queuing": queuing}}
        level = {"metadata": {"name": "writers"}, "spec": {"type": "Limited", "limited": limited}}
        subject = {"kind": "Group", "group": {"name": "writers"}}
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        spec = {"priorityLevelConfiguration": {"name": "writers"}, "matchingPrecedence": 5}
        spec |= {"distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [subject], "resourceRules": [rule]}]}
        schema = {"metadata": {"name": "writers"}, "spec": spec}
        role = {
            "metadata": {"name": "writers"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
        }
        binding = {
            "metadata": {"name": "writers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writers"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "writers"}],
        }
        await server.system.create(PRIORITY_LEVELS, level)
        await server.system.create(FLOW_SCHEMAS, schema)
        for kind, obj in (("clusterroles", role), ("clusterrolebindings", binding)):
            await server.system.raw("POST", f"/apis/rbac.authorization.k8s.io/v1/{kind}", body=obj)
        if server.fairness:
            await until("the level is known", lambda: server.fairness and "writers" in server.fairness.levels)
        yield server, gate


async def write(server: ApiServer, user: str, name: str) -> Response:
    return await exchange(server, "POST", MAPS, {"metadata": {"name": name}}, token=user)


def metric(server: ApiServer, start: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in server.metrics.text().splitlines() if line.startswith(start))


async def test_requests_wait_for_seats_and_are_refused_where_queues_are_full() -> None:
    async with slow(max_reads=100, max_writes=100) as (server, gate):
        assert server.fairness
        level = server.fairness.levels["writers"]
        assert level.limit == 1  # one of 246 shares of 200 seats, rounded up
        gate.open.clear()
        tasks = [asyncio.create_task(write(server, "jane", f"jane-{number}")) for number in range(10)]
        await until("the queue is full", lambda: level.queues.waiting == 2)
        done, waiting = await asyncio.wait(tasks, timeout=0.05)
        assert len(done) == 7
        refused = done.pop().result()
        assert (refused.status, refused.content_type) == (429, "text/plain; charset=utf-8")
        assert refused.body == b"Too many requests, please try again later.\n"
        headers = dict(refused.headers)
        assert headers["Retry-After"] == "1"
        schema = server.lookup(GroupResource("flowcontrol.apiserver.k8s.io", "flowschemas"), "", "writers")
        assert schema
        assert headers["X-Kubernetes-Pf-Flowschema-Uid"] == schema["metadata"]["uid"]
        assert headers["X-Kubernetes-Pf-Prioritylevel-Uid"] == level.uid
        labels = '{flow_schema="writers",priority_level="writers"'
        assert metric(server, f"apiserver_flowcontrol_rejected_requests_total{labels}") == 7
        assert metric(server, f"apiserver_flowcontrol_current_inqueue_requests{labels}") == 2
        assert metric(server, "apiserver_current_inflight_requests") == 1

        health = await exchange(server, "GET", "/readyz", token="jane")
        assert health.status == 200
        masters = asyncio.create_task(write(server, "root", "root"))
        await until("both writes are under way", lambda: metric(server, "apiserver_current_inflight_requests") == 2)
        gate.open.set()
        assert (await masters).status == 201
        assert sorted([(await task).status for task in waiting]) == [201] * 3
        assert metric(server, f"apiserver_flowcontrol_dispatched_requests_total{labels}") == 3
        assert (level.seats, level.executing, level.queues.waiting) == (0, 0, 0)


class Quiet:
    """The near end of a watch that nobody reads."""

    buffered = 0

    def write(self, chunks: Sequence[bytes]) -> None:
        pass

    finish = abort = lambda self: None

    def on_drain(self, callback: Callable[[], None]) -> None:
        callback()


async def test_what_many_watch_keeps_its_seat_until_they_have_seen_it() -> None:
    async with slow(max_reads=100, max_writes=100) as (server, _):
        assert server.fairness
        level = server.fairness.levels["writers"]
        for number in range(30):
            where = f"{MAPS}?watch=true" if number < 15 else f"{MAPS}?watch=true&fieldSelector=metadata.name=other"
            answer = await exchange(server, "GET", where, token="root")
            assert answer.stream
            answer.stream(Quiet())
        assert (await write(server, "jane", "seen")).status == 201
        assert (level.seats, level.executing) == (1, 1)
        await until("the seat is free again", lambda: level.seats == 0)
        fanout = server.caches[GroupResource("", "configmaps")].fanout
        counted = [fanout.interested(*of) for of in (("default", ""), ("default", "other"), ("kube-system", ""))]
        assert counted == [15, 30, 0]


async def test_reads_that_need_no_seat_still_wait_behind_those_who_wait() -> None:
    async with slow(max_reads=100, max_writes=100) as (server, gate):
        assert server.fairness
        level = server.fairness.levels["writers"]
        gate.open.clear()
        writing = asyncio.create_task(write(server, "jane", "a"))
        await until("the seat is taken", lambda: level.seats == 1)
        reading = asyncio.create_task(exchange(server, "GET", MAPS, token="joe"))
        await until("the read waits", lambda: level.queues.waiting == 1)
        gate.open.set()
        assert (await writing).status == 201
        assert (await reading).status == 200


@pytest.mark.parametrize("ends", ["time-out", "gone"])
async def test_who_waits_too_long_or_goes_leaves_the_queue(ends: str) -> None:
    async with slow(max_reads=100, max_writes=100) as (server, gate):
        assert server.fairness
        level = server.fairness.levels["writers"]
        gate.open.clear()
        writing = asyncio.create_task(write(server, "jane", "a"))
        await until("the seat is taken", lambda: level.seats == 1)
        query = "?timeout=200ms" if ends == "time-out" else ""
        waiting = asyncio.create_task(exchange(server, "GET", MAPS + query, token="jane"))
        await until("the read waits", lambda: level.queues.waiting == 1)
        if ends == "gone":
            waiting.cancel()
        await until("nothing waits", lambda: level.queues.waiting == 0)
        if ends == "time-out":
            assert (await waiting).status == 429
            assert 'reason="time-out"} 1' in server.metrics.text()
        gate.open.set()
        assert (await writing).status == 201
        assert level.seats == 0


async def test_without_fairness_only_numbers_are_bounded() -> None:
    async with slow(fairness=False, max_reads=5, max_writes=2) as (server, gate):
        gate.open.clear()
        tasks = [asyncio.create_task(write(server, "jane", f"m-{number}")) for number in range(2)]
        await until("both are under way", lambda: metric(server, "apiserver_current_inflight_requests") == 2)
        refused = await write(server, "joe", "x")
        assert (refused.status, dict(refused.headers)["Retry-After"]) == (429, "1")
        assert (await exchange(server, "GET", MAPS, token="joe")).status == 200
        assert not any(name.startswith("X-Kubernetes-Pf") for name, _ in refused.headers)
        gate.open.set()
        assert [(await task).status for task in tasks] == [201, 201]


async def test_answers_and_failures_tell_schema_and_level() -> None:
    async with slow() as (server, _):
        for url, status in ((MAPS, 200), ("/api/v1/nodes", 403), (f"{MAPS}/missing", 404)):
            answer = await exchange(server, "GET", url, token="jane")
            assert answer.status == status
            assert {"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} <= dict(
                answer.headers
            ).keys()


async def test_changed_schemas_count_from_then_on() -> None:
    async with slow() as (server, _):
        assert server.fairness

        async def schema() -> str:
            return dict((await exchange(server, "GET", MAPS, token="jane")).headers)["X-Kubernetes-Pf-Flowschema-Uid"]

        own = await schema()
        await server.system.delete(FLOW_SCHEMAS, "writers")
        await asyncio.sleep(0)
        other = server.lookup(GroupResource("flowcontrol.apiserver.k8s.io", "flowschemas"), "", "global-default")
        assert other
        assert await schema() == other["metadata"]["uid"] != own


async def test_the_state_of_levels_and_queues_can_be_dumped() -> None:
    async with slow() as (server, _):
        answer = await exchange(server, "GET", "/debug/api_priority_and_fairness/dump_priority_levels", token="root")
        lines = bytes(answer.body).decode().splitlines()  # type: ignore[arg-type]
        assert lines[0].startswith("PriorityLevelName, ActiveQueues, IsIdle")
        assert "writers, 0, true, false, 0, 0, 0, 0, 0, 0" in lines
        refused = await exchange(server, "GET", "/debug/api_priority_and_fairness/dump_queues", token="jane")
        assert refused.status == 403
