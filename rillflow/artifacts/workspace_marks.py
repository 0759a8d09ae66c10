"""Marks of workspaces: which of them have an artifact, however many executions use it.

``workspaces/<workspace>/<sha256>`` below the root of the store says that an execution of the
workspace has a mark of the artifact. So whether an execution may use one is asked by one name.

Used by `artifacts/store.py`.
"""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from cachetools import TTLCache

from rillflow.artifacts.marks import first_in, write_mark

LACKS_S: Final = 1.0
"""For so long it is known that a workspace has no mark, also after a listing has found none."""
MOST_LACKING: Final = 4_096


class WorkspaceMarks:
    """Which workspaces have which artifacts.

    All methods block, and raise ``OSError`` if the store fails.
    """

    def __init__(
        self,
        file_system: Callable[[], tuple[Any, str]],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep them below the root of a file system."""
        self._file_system = file_system
        self._lacking = TTLCache[tuple[frozenset[str], str], bool](MOST_LACKING, LACKS_S, clock_s)
        self._lock = threading.Lock()

    def keep(self, workspace: str, sha256: str) -> None:
        """Note that an execution of a workspace has a mark of an artifact."""
        fs, root = self._file_system()
        write_mark(fs, f"{root}/workspaces/{workspace}/{sha256}", b"")

    def have(self, workspaces: Collection[str], sha256: str) -> bool:
        """Tell whether an execution of one of these workspaces has a mark of an artifact."""
        fs, root = self._file_system()
        if any(fs.exists(f"{root}/workspaces/{each}/{sha256}") for each in workspaces):
            return True
        asked = frozenset(workspaces), sha256
        with self._lock:
            if asked in self._lacking:
                return False
        # An earlier release, which leaves no such marks, may have stored it.
        found = self._users_among(workspaces, sha256)
        for each in found:
            self.keep(each, sha256)
        if not found:
            with self._lock:
                self._lacking[asked] = True
        return bool(found)

    def drop(self, workspaces: Collection[str], sha256: str) -> None:
        """Forget those of some workspaces that have no mark of an artifact any more.

        One that gets a mark meanwhile keeps its own.
        """
        fs, root = self._file_system()
        gone = set(workspaces) - self._users_among(workspaces, sha256)
        for each in gone:
            folder = f"{root}/workspaces/{each}"
            with suppress(FileNotFoundError):
                fs.rm_file(f"{folder}/{sha256}")
            with suppress(OSError):  # where there are folders, unless it has others
                fs.rmdir(folder)
        for each in self._users_among(gone, sha256):
            self.keep(each, sha256)

    def _users_among(self, workspaces: Collection[str], sha256: str) -> set[str]:
        """Return those of some workspaces whose executions have a mark of an artifact."""
        fs, root = self._file_system()
        folder = f"{root}/references/{sha256}"
        return {each for each in workspaces if first_in(fs, folder, f"{each}-") is not None}
