"""A test's cluster needs no rights, and no network but loopback."""

from __future__ import annotations

import subprocess
import sys

import pytest

POD = "apiVersion: v1\\nkind: Pod\\nmetadata: {name: a}\\nspec: {containers: [{name: a, image: b}]}"
USE = f"""
from navarch.testing import Cluster
assert "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
for beside in (False, True):
    with Cluster(nodes=1, beside=beside) as cluster:
        cluster.client.apply("{POD}")
        cluster.client.wait(lambda: cluster.client.get("pod", "a").get("status", {{}}).get("phase") == "Running")
print("ran")
"""


@pytest.mark.node
def test_without_rights_and_with_loopback_only() -> None:
    bare = "ip link set lo up && exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs"
    words = ["unshare", "--net", "sh", "-c", f'{bare} "$@"', "sh", sys.executable, "-c", USE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ran\n", done.stderr
