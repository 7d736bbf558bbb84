"""navarch why"""

from __future__ import annotations

import urllib.error
from pathlib import Path

import click
import orjson

from navarch.cli.common import cluster_options, existing


@click.command("why")
@cluster_options
@click.option("-n", "--namespace", default="default", show_default=True, help="The pod's namespace.")
@click.argument("what", type=click.Choice(["pod"]))
@click.argument("object_name", metavar="NAME")
def command(name: str, state_root: Path, run_root: Path, namespace: str, what: str, object_name: str) -> None:
    """Say why a pod is where it is, or why it is nowhere: node by node, and what its controllers last decided.

    \b
    navarch why pod web-5c9fb7d4c9-x2x7p
    navarch why pod web-0 -n shop
    """
    from navarch.cluster import why
    from navarch.cluster.lifecycle import AdminApi

    api = AdminApi(existing(name, state_root, run_root))
    try:
        answer = api.get(why.path(namespace, object_name))
    except urllib.error.HTTPError as error:
        body = error.read()
        message = orjson.loads(body).get("message", "") if body[:1] == b"{" else body.decode(errors="replace")
        raise click.ClickException(message) from None
    except OSError as error:
        raise click.ClickException(f"the API server does not answer ({error}); try: navarch status") from None
    for line in why.told(answer):
        click.echo(line)
