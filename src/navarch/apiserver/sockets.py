"""Watches over WebSockets, as browsers ask for them: every event is a message. Source: endpoints/handlers/watch.go."""

from __future__ import annotations

from navarch.apiserver.auth.authenticators import SOCKET_PREFIX
from navarch.apiserver.request import Request, Response
from navarch.http import websocket
from navarch.machinery import errors


def watched(request: Request, begin: websocket.Begin, text: bool) -> Response:
    """Raises 400 for what is no proper handshake. The protocol that carries a token is not the one that is spoken."""
    offered = request.headers.get("sec-websocket-protocol", "").split(",")
    spoken = [name.strip() for name in offered if name.strip() and not name.strip().startswith(SOCKET_PREFIX)]
    shaken = websocket.handshake(request, spoken)
    if shaken is None:
        raise errors.bad_request("the WebSocket handshake is wrong")
    return websocket.streamed(shaken[0], begin, text)
