"""Tokens that live in secrets, from their making by the controller to their end."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.client.resources import SECRETS, SERVICE_ACCOUNTS
from navarch.cluster.config import ClusterConfig
from navarch.cluster.controlplane import ControlPlane
from navarch.machinery.errors import StatusError

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
SECRET = {
    "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    "type": "kubernetes.io/service-account-token",
}


async def eventually(look: Any) -> Any:
    async with asyncio.timeout(10):
        while not (found := await look()):
            await asyncio.sleep(0.01)
        return found


async def whoami(server: Any, token: str) -> Any:
    code, answer = await send(server, "POST", WHOAMI, {}, token=token)
    return answer["status"]["userInfo"] if code == 201 else code


async def test_a_token_secret_is_filled_works_and_ends_with_its_account():
    async with api_server() as server:
        plane = ControlPlane(server)
        await plane.start(ClusterConfig(), "the CA", scheduler=False)
        try:
            account = await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
            await server.system.create(SECRETS, SECRET, "default")

            async def filled() -> Any:
                secret = await server.system.get(SECRETS, "robot-token", "default")
                return secret if "token" in (secret.get("data") or {}) else None

            secret = await eventually(filled)
            data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            assert data["namespace"] == "default" and data["ca.crt"] == "the CA"
            uid = account["metadata"]["uid"]
            assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid
            found = await whoami(server, data["token"])
            assert found["username"] == "system:serviceaccount:default:robot" and found["uid"] == uid
            assert found["groups"][0] == "system:serviceaccounts"

            async def noted() -> Any:
                labels = (await server.system.get(SECRETS, "robot-token", "default"))["metadata"].get("labels") or {}
                return labels.get("kubernetes.io/legacy-token-last-used")

            assert len(await eventually(noted)) == len("2026-01-01")
            head, claims, signature = data["token"].split(".")
            assert await whoami(server, f"{head}.{claims}.{signature[::-1]}") == 401
            other = {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}}
            await server.system.patch(SECRETS, "robot-token", other, "default")
            assert await whoami(server, data["token"]) == 401
            other["metadata"]["labels"]["kubernetes.io/legacy-token-invalid-since"] = None  # type: ignore[assignment]
            await server.system.patch(SECRETS, "robot-token", other, "default")
            assert (await whoami(server, data["token"]))["uid"] == uid
            await server.system.delete(SERVICE_ACCOUNTS, "robot", "default")
            assert await whoami(server, data["token"]) == 401

            async def gone() -> bool:
                try:
                    await server.system.get(SECRETS, "robot-token", "default")
                except StatusError as err:
                    return err.code == 404
                return False

            assert await eventually(gone)
        finally:
            await plane.stop()
