"""Asks a server for every cell and keeps what it said: python -m tests.access.record --kubeconfig FILE

The kubeconfig's user must be a master by token (impersonation is by headers, "no credentials" by leaving them out)."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
from pathlib import Path
from typing import Any

from tests.access.cells import MATRIX, RECORDED, Matrix
from tests.differential.play import from_kubeconfig


def sender(kubeconfig: Path) -> Any:
    endpoint = from_kubeconfig(kubeconfig)
    connection = endpoint.connect()

    async def send(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        nonlocal connection
        sent = [(k.strip().lower(), v) for k, v in endpoint.headers.items()] if "authorization" not in headers else []
        sent += [(k.strip(), v) for k, v in headers.items() if v]
        try:
            return _ask(connection, method, path, body, sent)
        except (OSError, http.client.HTTPException):
            connection = endpoint.connect()
            return _ask(connection, method, path, body, sent)

    return send


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
    connection.putrequest(method, path)
    for name, value in [*headers, ("content-length", str(len(body)))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if (answer.getheader("content-type") or "").startswith(
        "application/json"
    ) else data


async def record(kubeconfig: Path) -> dict[str, Any]:
    matrix = Matrix(sender(kubeconfig))
    await matrix.furnish()
    requests = matrix.requests()
    rows = {" ".join(identity): await matrix.row(identity, requests) for identity in MATRIX["identities"]}
    return {"requests": len(requests), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    found = asyncio.run(record(parser.parse_args().kubeconfig))
    RECORDED.write_text(json.dumps(found, indent=0) + "\n")
    cells = "".join(found["rows"].values())
    print(f"{len(cells)} cells, {cells.count('+')} allowed")


if __name__ == "__main__":
    main()
