"""Another release of Rillflow: a copy of the code that is changed, or that of an earlier commit."""

import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Final

from rillflow.language.versions import CURRENT
from rillflow.ports.deployment import PROTOCOL
from tests.cluster.processes import ROOT

PACKAGES: Final = ("rillflow", "serve")
EARLIER_COMMIT: Final = "0dc10416b6ab037dc1d4bf9b576428e96d39ee27"
"""What a deployment is upgraded from, besides a copy: it has schema version 20, and this protocol.

It stays as long as releases of its protocol are supported; then a later commit stands here.
"""
_DESCRIBED: Final = ("stores/schema_status.py", '\n)\n"""What each migration adds')
_MADE: Final = "\n)\nVERSION: Final"
_COLUMN: Final = "ALTER TABLE executions ADD COLUMN later{} TEXT"
_TABLE: Final = "CREATE TABLE later{} (name TEXT)"


def make_release(
    folder: Path, protocol: int, *, migrations: int = 0, language: int = CURRENT
) -> Path:
    """Copy the code into a folder, as the release that speaks a protocol, with a language version.

    It has so many additive ``migrations`` more.
    """
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    said = "PROTOCOL: Final = {}\n"
    path = folder / "rillflow" / "ports" / "deployment.py"
    _replace(path, said.format(PROTOCOL), said.format(protocol))
    path = folder / "rillflow" / "language" / "versions.py"
    _replace(path, "CURRENT: Final = CONTEXTS_BOUNDED\n", f"CURRENT: Final = {language}\n")
    for number in range(migrations):
        table, column = _TABLE.format(number), _COLUMN.format(number)
        described = '\n    Migration("a table, and a column", is_additive=True),'
        _insert(folder / "rillflow" / _DESCRIBED[0], _DESCRIBED[1], described)
        of_sqlite = f'\n    ("{table}", "{column}"),'
        _insert(folder / "rillflow" / "stores" / "sqlite" / "schema.py", _MADE, of_sqlite)
        of_postgres = f'\n    "{table}; {column}",'
        _insert(folder / "rillflow" / "stores" / "postgres" / "schema.py", _MADE, of_postgres)
    return folder


def _insert(path: Path, before: str, text: str) -> None:
    _replace(path, before, text + before)


def _replace(path: Path, before: str, after: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1, path
    path.write_text(content.replace(before, after), encoding="utf-8")


def release_of_commit(folder: Path, commit: str = EARLIER_COMMIT) -> Path:
    """Unpack the code of a commit of this working copy into a folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *PACKAGES]
    archived = subprocess.run(command, capture_output=True, check=False)
    assert archived.returncode == 0, (
        f"the earlier release is commit {commit}, which this working copy has not: it needs the"
        f" whole history (`git fetch --unshallow`). git says: {archived.stderr.decode().strip()}"
    )
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def shipped(release: Path, archive: Path) -> str:
    """Pack a release; return the ``working_dir`` by which Ray brings it to the nodes."""
    with zipfile.ZipFile(archive, "w") as packed:
        for package in PACKAGES:
            for path in sorted((release / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    packed.write(path, Path("release") / path.relative_to(release))
    return f"file://{archive}"
