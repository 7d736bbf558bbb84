"""Variables from files that containers write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from navarch.kubelet import envfile
from navarch.kubelet.env import ConfigError, environment

TEXT = """# a comment
PLAIN='one two' # and another
  INDENTED='x'
EMPTY= 'not taken'
LINES='first
second'
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [("PLAIN", "one two"), ("INDENTED", "x"), ("EMPTY", ""), ("LINES", "first\nsecond"), ("MISSING", "")],
)
def test_values_are_what_is_in_quotes(key: str, value: str) -> None:
    assert envfile.parse(TEXT, key) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("KEY", "missing '='"),
        ("='x'", "empty variable name"),
        ("KEY ='x'", "whitespace before '=' is not allowed"),
        ("KEY=x", "value must be enclosed in single quotes"),
        ("KEY='x", "unclosed single quote"),
        ("KEY='x'y", "unexpected content after closing quote"),
    ],
)
def test_anything_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        envfile.parse(text, "KEY")


def variables(root: Path, **key: Any) -> dict[str, str]:
    reference = {"volumeName": "v", "path": "sub/env", "key": "PLAIN", **key}
    container = {"name": "c", "env": [{"name": "X", "valueFrom": {"fileKeyRef": reference}}]}
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]}}
    return environment(container, pod, {}, lambda *_: None, {}, {"v": root})


def test_a_container_gets_what_another_wrote(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "env").write_text(TEXT)
    assert variables(tmp_path) == {"X": "one two"}
    assert variables(tmp_path, key="MISSING", optional=True) == {}
    with pytest.raises(ConfigError, match='environment variable key "MISSING" not found in file'):
        variables(tmp_path, key="MISSING")
    with pytest.raises(ConfigError, match='cannot find the volume "w"'):
        variables(tmp_path, volumeName="w")


def test_no_link_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("PLAIN='stolen'")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "sub").symlink_to(tmp_path)
    for path in ("sub/secret", "../secret", "/etc/passwd"):
        with pytest.raises(ConfigError, match="couldn't parse env file"):
            variables(tmp_path / "volume", path=path)
