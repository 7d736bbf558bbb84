"""A whole API server inside a test: `async with api_server() as server: client = server.system`."""

from navarch.testing.inside import api_server

__all__ = ["api_server"]
