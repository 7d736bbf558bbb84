"""What a fresh cluster has of storage, and what it is not given a second time."""

from __future__ import annotations

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import STORAGE_CLASSES
from navarch.cluster.storage import ROLE, ROLES, publish
from navarch.machinery.errors import StatusError


async def test_the_class_is_given_once_and_the_rights_are_kept_up_to_date() -> None:
    async with api_server() as server:
        client = server.system
        await publish(client)
        found = await client.get(STORAGE_CLASSES, "standard")
        assert found["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
        await client.delete(STORAGE_CLASSES, "standard")
        role = await client.get(ROLES, ROLE["metadata"]["name"])
        await client.update(ROLES, {**role, "rules": []})
        await publish(client)
        with pytest.raises(StatusError):
            await client.get(STORAGE_CLASSES, "standard")
        assert (await client.get(ROLES, ROLE["metadata"]["name"]))["rules"] == ROLE["rules"]
