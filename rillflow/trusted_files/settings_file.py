"""The file of settings: ``rillflow.toml`` of the current folder, or the one that a variable names.

Settings name code that runs, folders that are read and where secrets are sent. So the file of the
current folder is read only if no other user can change it; one that is named is taken as it is.

Used by `settings.py`, `unknown_settings.py` and `cli/doctor/configuration.py`.
"""

import os
import stat
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from rillflow.errors import StackError
from rillflow.suggestions import closest
from rillflow.trusted_files.owners import SUPERUSER, why_not_kept, why_not_private

FILE: Final = "rillflow.toml"
VARIABLE: Final = "RILLFLOW_SETTINGS_FILE"
"""Names a file of settings, which is read in place of that of the current folder."""
PREFIX: Final = "RILLFLOW_"


def settings_path() -> Path:
    """Return where the settings are read, whether there is a file or not."""
    return Path(os.environ.get(VARIABLE) or FILE)


def read_settings_file(known: Collection[str], user: int | None = None) -> dict[str, Any]:
    """Read the settings of the file; empty if there is none.

    Args:
        known: The names of all settings; a misspelt one must not go unnoticed.
        user: The number of the user who relies on the file; None is that of this process.

    Raises:
        StackError: The file cannot be read, or other users can change it.
        ValueError: It is no TOML, or has a name that is no setting.
    """
    path, is_named = settings_path(), bool(os.environ.get(VARIABLE))
    try:
        content = _content_of(path, os.geteuid() if user is None else user, is_named=is_named)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StackError(f"the file of settings {path} cannot be read: {reason}") from error
    try:
        given = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    unknown = sorted(given.keys() - known)
    if unknown:
        told = "; ".join(_unknown(name, given[name], known) for name in unknown)
        raise ValueError(f"{path}: {told}")
    return given


def _content_of(path: Path, user: int, *, is_named: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if is_named:
            raise
        return b""
    try:
        # Of what is open, since another file may have come to its path since.
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            if is_named:
                raise OSError("it is no ordinary file")
            return b""
        reason = "" if is_named else why_not_trusted(path, found, user)
        if reason:
            raise StackError(
                f"{path} in {Path.cwd()} is not read: {reason}. Who can change it decides what runs"
                " as this user: make it yours (chown, chmod go-w), or name it by"
                f" {VARIABLE}={path.absolute()} if you trust whoever can change it"
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read()
    finally:
        os.close(descriptor)


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def why_not_trusted(
    path: Path,
    found: os.stat_result,
    user: int,
    is_read_only: Callable[[Path], bool] = _is_read_only,
) -> str:
    """Return why others can change what is read at a path; empty if they cannot.

    Args:
        path: That of the file, or of a link to it.
        found: The owner and the mode of the file.
        user: The number of the user who is to rely on it.
        is_read_only: Whether the file system of a folder is mounted so that nobody writes there.
    """
    if reason := why_not_private(found, user):
        return reason
    entry = path.lstat()
    if entry.st_uid not in (user, SUPERUSER):
        return f"it is a link of another user (uid {entry.st_uid})"
    for folder in {path.absolute().parent, path.resolve().parent}:
        facts = folder.stat()
        # The folder of a config map of Kubernetes has mode 777 and is mounted read-only.
        if facts.st_uid in (user, SUPERUSER) and is_read_only(folder):
            continue
        if reason := why_not_kept(facts, user):
            return f"of its folder {folder}, {reason}"
    return ""


def _unknown(name: str, value: object, known: Collection[str]) -> str:
    """Say that a name of the file is no setting, and which one is likely to be meant."""
    near = closest(name.lower().replace("-", "_").removeprefix(PREFIX.lower()), sorted(known))
    hint = f", did you mean {near}?" if near else ""
    if near is None and isinstance(value, dict):
        hint = ", settings stand in no section"
    return f"there is no setting {name}{hint}"
