"""The data folder of a local stack: its lock, and a note of the running processes.

Used by `serve/stack/standalone.py`.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rillflow.errors import StackError
from rillflow.jsontypes import encode_json
from rillflow.local_keys import read_stack_note, remove_drafts, replace_own
from rillflow.ray_certificates import RUN_PREFIX, RUN_ROOT
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import STACK_LOCK, STACK_NOTE
from rillflow.stores.private_files import close_to_others, make_private_folder, why_foreign

LOGS: Final = "logs"
OWN: Final = (STACK_LOCK, LOGS, "artifacts")
"""What must be this user's own where it exists; the store and the key look after themselves."""
SESSION: Final = "session_"
LOGS_KEPT: Final = 5
"""How many starts keep their logs, besides the next one."""
ARCHIVED: Final = "executions-*.jsonl"
LEAST_FREE_BYTES: Final = 16 << 20
"""With less room, Ray does not start and does not say why."""


def refuse_unwritable(archive: Path) -> None:
    """Check that the archive can be written, and create it if needed.

    Raises:
        StackError: It cannot be written.
    """
    try:
        archive.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=archive):
            pass
        close_to_others(archive.glob(ARCHIVED))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StackError(f"archive_dir {archive} cannot be written: {reason}") from error


class DataFolder:
    """A folder that is locked while a stack runs on it.

    The note in it tells other programs where the stack is. It remains after a stack was killed, so
    that the next one knows what may be left of it.
    """

    def __init__(
        self, path: Path, *, run_root: Path = RUN_ROOT, least_free_bytes: int = LEAST_FREE_BYTES
    ) -> None:
        """Use the folder of this path, and create one for sockets in ``run_root``."""
        self.path = path
        self._least_free_bytes = least_free_bytes
        self._run_root = run_root
        self._lock: int | None = None
        self._hold: int | None = None
        self.run_dir = Path(os.devnull)
        """For sockets and other files that are removed with the stack."""
        self.logs_dir = Path(os.devnull)
        """For the logs of this start."""

    def lock(self) -> bool:
        """Lock the folder, created if needed; return whether the last stack was killed.

        Raises:
            StackError: Another stack runs on it, it cannot be written, its disk is full, or others
                can change it.
        """
        try:
            make_private_folder(self.path)
            self._refuse_foreign()
            lock = self.path / STACK_LOCK
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
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
        self._refuse_full()
        close_to_others(self.path / name for name in (STACK_LOCK, STACK_NOTE))
        self._make_run_dir()
        self._make_logs_dir()
        return killed

    def _refuse_foreign(self) -> None:
        """Refuse what another user has put here while he could, or links of his.

        Raises:
            OSError: There is such.
        """
        for name in OWN:
            if reason := why_foreign(self.path / name, os.geteuid()):
                raise PermissionError(f"{name} in it: {reason}")

    def _refuse_full(self) -> None:
        free_bytes = shutil.disk_usage(self.path).free
        if free_bytes < self._least_free_bytes:
            self._unlock()
            raise StackError(
                f"the disk of the data folder {self.path} is full: {free_bytes >> 20} MiB are left,"
                f" and a start needs {self._least_free_bytes >> 20}; make room and start again"
            )

    def _make_run_dir(self) -> None:
        """Create a folder with a short path, which sockets need, that only this user can enter.

        Its name is random, so nobody can have created it before. Nobody can replace it if other
        users cannot move folders in its parent. It is locked, so that cleaning programs leave it
        alone (see tmpfiles.d).

        Raises:
            StackError: Others could move it.
        """
        root = self._run_root
        mode = root.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StackError(
                f"everybody may move what lies in {root}; forbid it by chmod +t {root}"
            )
        self.run_dir = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=root))
        self._hold = os.open(self.run_dir, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._hold, fcntl.LOCK_SH)

    def _make_logs_dir(self) -> None:
        """Create a folder for the logs of this start, and remove old ones."""
        logs = self.path / LOGS
        logs.mkdir(mode=0o700, exist_ok=True)
        logs.chmod(0o700)
        earlier = sorted(each for each in logs.iterdir() if each.name.startswith(SESSION))
        for old in earlier[: max(len(earlier) - LOGS_KEPT, 0)]:
            shutil.rmtree(old, ignore_errors=True)
        now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
        began = now.strftime(f"{SESSION}%Y-%m-%d_%H-%M-%S_%f_")
        self.logs_dir = Path(tempfile.mkdtemp(prefix=began, dir=logs.resolve()))

    def note(self, **facts: Any) -> None:
        """Write the note of what runs here, in place of the last one."""
        content = {"pid": os.getpid(), "run_dir": str(self.run_dir), **facts}
        path = self.path / STACK_NOTE
        remove_drafts(path)
        replace_own(path, encode_json(content))

    def read_note(self) -> dict[str, Any]:
        """Return the note, empty if there is none of this user."""
        return read_stack_note(self.path)

    def release(self) -> None:
        """Release the folder, if it was locked."""
        if self._lock is not None:
            self._clear()
            shutil.rmtree(self.run_dir, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.logs_dir.rmdir()  # Ray was not started
            self._unlock()

    def _clear(self) -> bool:
        """Remove what a stack leaves outside this folder; return whether there was a note."""
        note = self.read_note()
        run_dir = Path(str(note.get("run_dir", "")))
        if run_dir.parent == self._run_root and run_dir.name.startswith(RUN_PREFIX):
            shutil.rmtree(run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.path / STACK_NOTE).unlink()
        return bool(note)

    def _unlock(self) -> None:
        for held in (self._lock, self._hold):
            if held is not None:
                os.close(held)
        self._lock = self._hold = None
