"""What everything after it stands on: two namespaces, and the accounts that controllers would make in them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.differential.steps import Script, Step


def steps() -> Iterator[Step]:
    add = Script("setup")
    for name in ("ns", "other"):
        add(f"namespace-{name}", "POST", "/api/v1/namespaces", {"metadata": {"name": "{" + name + "}"}})
        account = {"metadata": {"name": "default"}}
        add(f"account-{name}", "POST", "/api/v1/namespaces/{" + name + "}/serviceaccounts", account)
    yield from add.steps
