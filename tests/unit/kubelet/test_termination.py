"""What a container left to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from navarch.kubelet.runtime_state import MESSAGE_PATH, MESSAGE_POLICY
from navarch.kubelet.termination import termination_message


def status(tmp_path: Path, message: str | None, log: str = "", policy: str = "File", code: int = 1) -> dict[str, Any]:
    if message is not None:
        (tmp_path / "message").write_text(message)
    (tmp_path / "log").write_text(log)
    return {
        "exit_code": code,
        "annotations": {MESSAGE_PATH: "/dev/termination-log", MESSAGE_POLICY: policy},
        "mounts": [{"container_path": "/dev/termination-log", "host_path": str(tmp_path / "message")}],
        "log_path": str(tmp_path / "log"),
    }


def test_the_file_says_it(tmp_path: Path) -> None:
    assert termination_message(status(tmp_path, "bye")) == "bye"
    assert termination_message(status(tmp_path, "x" * 5000 + "end")) == ("x" * 5000 + "end")[-4096:]


def test_the_log_says_it_where_the_file_does_not_and_the_policy_wants_it(tmp_path: Path) -> None:
    log = "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n2026-01-01T00:00:01Z stderr F o\n"
    assert termination_message(status(tmp_path, "", log, "FallbackToLogsOnError")) == "one\ntwo\n"
    assert termination_message(status(tmp_path, "", log)) == ""
    assert termination_message(status(tmp_path, "", log, "FallbackToLogsOnError", code=0)) == ""


def test_a_link_out_of_the_container_is_not_followed(tmp_path: Path) -> None:
    made = status(tmp_path, None)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "message").symlink_to(tmp_path / "secret")
    assert "secret" not in termination_message(made).partition(":")[2]
