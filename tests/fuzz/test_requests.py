"""The differential script's requests, changed at random: no 5xx, no hang, and every refusal is a Status."""

from __future__ import annotations

import random

from tests.fuzz.requests import Mutator, answered, judge, seeds
from tests.support.apiserver import api_server

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig

ROUNDS = 10_000


async def test_changed_requests_are_answered_or_refused() -> None:
    mutator = Mutator(seeds(), random.Random("requests"))
    config = ApiServerConfig(fixed_tokens={"fuzz": User("admin", groups=("system:masters",))})
    async with api_server(config=config) as server:
        for sent in mutator.seeds:
            assert not (wrong := judge(await answered(server, sent))), f"{wrong}: {sent.shown()}"
        for _ in range(ROUNDS):
            sent = mutator.make()
            assert not (wrong := judge(await answered(server, sent))), f"{wrong}: {sent.shown()}"
