"""Build hook: compiles what the package needs of the release's published schemas into the wheel."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileSchemas(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        pass
