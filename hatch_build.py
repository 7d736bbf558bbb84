"""Build hook: compiles what the package needs of the release's published schemas into the wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

API = Path("src", "navarch", "api")


class CompileSchemas(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        spec = importlib.util.spec_from_file_location("compile_schemas", root / API / "compile_schemas.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(API / "compile_schemas.py")
        compiler = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compiler)
        compiler.compile_into(root / API / "_compiled")
