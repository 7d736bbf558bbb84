"""A plugin's socket: gRPC with our own codec."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from navarch.machinery.protobuf import Tables

Tree = dict[str, Any]
CALL_SECONDS = 120.0


class PluginError(Exception):
    """A plugin refused or did not answer. `code` is gRPC's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code.title().replace('_', '')} desc = {message}")
        self.code = code


class Endpoint:
    """Messages are named after their methods, unless a call says otherwise."""

    def __init__(self, socket: Path, codec: Tables) -> None:
        import grpc.aio

        self._codec = codec
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}")

    async def call(
        self,
        service: str,
        method: str,
        request: Tree,
        seconds: float = CALL_SECONDS,
        *,
        sends: str = "",
        gets: str = "",
    ) -> Tree:
        """Raises PluginError."""
        import grpc.aio

        call = self._channel.unary_unary(
            service + method,
            request_serializer=partial(self._codec.encode, sends or f"{method}Request"),
            response_deserializer=partial(self._codec.decode, gets or f"{method}Response"),
        )
        try:
            return await call(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise PluginError(error.code().name, error.details() or error.code().name) from None

    async def stream(self, service: str, method: str, request: Tree, *, sends: str, gets: str) -> AsyncIterator[Tree]:
        """Raises PluginError when the stream breaks."""
        import grpc.aio

        call = self._channel.unary_stream(
            service + method,
            request_serializer=partial(self._codec.encode, sends),
            response_deserializer=partial(self._codec.decode, gets),
        )(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise PluginError(error.code().name, error.details() or error.code().name) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()
