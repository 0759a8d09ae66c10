"""Packs the scripts and styles of the console into the wheel as gzip has them.

They take a third of their size then, in the plain package too, which does not show them.

Used by hatchling, see `pyproject.toml`; read by `serve/routes/console_pages.py`.
"""

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = Path("serve", "static", "console", "files")


class PackedFiles(BuildHookInterface[BuilderConfig]):
    """Puts ``NAME.gz`` in the place of each script and style, which ``exclude`` leaves out."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Pack the files before the wheel is built."""
        if version == "editable":
            return
        self._folder = TemporaryDirectory()
        for path in sorted(Path(self.root, FILES).iterdir()):
            if path.suffix in {".js", ".css"}:
                packed = Path(self._folder.name, f"{path.name}.gz")
                packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
                build_data["force_include"][str(packed)] = (FILES / packed.name).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove them."""
        del build_data, artifact_path
        if version != "editable":
            self._folder.cleanup()
