"""Another release of Rillflow: a copy of the code whose processes speak another protocol."""

import shutil
import zipfile
from pathlib import Path
from typing import Final

from rillflow.ports.deployment import PROTOCOL
from tests.cluster.processes import ROOT

PACKAGES: Final = ("rillflow", "serve")


def make_release(folder: Path, protocol: int) -> Path:
    """Copy the code into a folder, as the release that speaks a protocol."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    path = folder / "rillflow" / "ports" / "deployment.py"
    text = path.read_text(encoding="utf-8")
    said = f"PROTOCOL: Final = {PROTOCOL}\n"
    assert said in text
    path.write_text(text.replace(said, f"PROTOCOL: Final = {protocol}\n"), encoding="utf-8")
    return folder


def shipped(release: Path, archive: Path) -> str:
    """Pack a release; return the ``working_dir`` by which Ray brings it to the nodes."""
    with zipfile.ZipFile(archive, "w") as packed:
        for package in PACKAGES:
            for path in sorted((release / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    packed.write(path, Path("release") / path.relative_to(release))
    return f"file://{archive}"
