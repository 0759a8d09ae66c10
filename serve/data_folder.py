"""The folder of a local stack: one stack at a time, and a note of what runs in it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from rillflow.errors import StackError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.settings import STACK_NOTE

LOCK: Final = "lock"


def refuse_unwritable(archive: Path) -> None:
    """Make sure that the archive can be written, made if need be, before there is need for it.

    Raises:
        StackError: It cannot.
    """
    try:
        archive.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=archive):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise StackError(f"archive_dir {archive} cannot be written: {reason}") from error


class DataFolder:
    """A folder that is locked while a stack runs on it.

    The note in it tells other programs where the stack is; it outlives a stack that
    was killed, and the next one then knows what may be left of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self.run_dir = Path(os.devnull)
        """For sockets and the like, whose paths must be short."""

    def lock(self) -> bool:
        """Take the folder, made if need be; tell whether the last stack was killed.

        Raises:
            StackError: Another stack runs on it, or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = self.read_note().get("url", "another one")
            self._unlock()
            raise StackError(
                f"the data folder {self.path} belongs to a stack that runs: {where};"
                " stop it, or choose another folder with --data-dir"
            ) from None
        except OSError as error:
            self._unlock()
            reason = error.strerror or str(error)
            raise StackError(
                f"the data folder {self.path} cannot be used: {reason}; choose another one"
                " with --data-dir"
            ) from error
        killed = self._clear()
        # The paths of sockets must be short, so no place of the user's choice.
        self.run_dir = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
        return killed

    def note(self, **facts: Any) -> None:
        """Write down what runs here, over what was written before."""
        content = {"pid": os.getpid(), "run_dir": str(self.run_dir), **facts}
        draft = self.path / f"{STACK_NOTE}.new"
        draft.write_bytes(encode_json(content))
        draft.replace(self.path / STACK_NOTE)

    def read_note(self) -> dict[str, Any]:
        """Return what is written down, empty when there is nothing readable."""
        try:
            found = decode_json((self.path / STACK_NOTE).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def release(self) -> None:
        """Give the folder back, if it was taken."""
        if self._lock is not None:
            self._clear()
            shutil.rmtree(self.run_dir, ignore_errors=True)
            self._unlock()

    def _clear(self) -> bool:
        """Remove what a stack leaves outside this folder; tell whether there was a note."""
        note = self.read_note()
        run_dir = Path(str(note.get("run_dir", "")))
        if run_dir.name.startswith("rf-"):
            shutil.rmtree(run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.path / STACK_NOTE).unlink()
        return bool(note)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
