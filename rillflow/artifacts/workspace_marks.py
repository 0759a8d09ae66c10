"""Marks of workspaces: which of them have an artifact, however many executions use it.

``workspaces/<workspace>/<sha256>`` below the root of the store says that an execution of the
workspace has a mark of the artifact. So whether an execution may use one is asked by one name.

Used by `artifacts/store.py`.
"""

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from rillflow.artifacts.marks import listed, write_mark

COMPLETE_AFTER_S: Final = 3_600.0
"""For so long processes of a release that leaves no such marks may still store artifacts."""
_COMPLETE: Final = "workspaces-is-complete"


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
        self._clock_s = clock_s
        self._begun_s = clock_s()
        self._is_complete = False

    def keep(self, workspace: str, sha256: str) -> None:
        """Note that an execution of a workspace has a mark of an artifact."""
        fs, root = self._file_system()
        write_mark(fs, f"{root}/workspaces/{workspace}/{sha256}", b"")

    def have(self, workspaces: Collection[str], sha256: str) -> bool:
        """Tell whether an execution of one of these workspaces has a mark of an artifact."""
        fs, root = self._file_system()
        if any(fs.exists(f"{root}/workspaces/{each}/{sha256}") for each in workspaces):
            return True
        if self._are_all_there():
            return False
        # An earlier release may have stored it.
        found = self._users(sha256).intersection(workspaces)
        for each in found:
            self.keep(each, sha256)
        return bool(found)

    def drop(self, workspaces: Collection[str], sha256: str) -> None:
        """Forget those of some workspaces that have no mark of an artifact any more.

        One that gets a mark meanwhile keeps its own.
        """
        fs, root = self._file_system()
        gone = set(workspaces) - self._users(sha256)
        for each in gone:
            folder = f"{root}/workspaces/{each}"
            with suppress(FileNotFoundError):
                fs.rm_file(f"{folder}/{sha256}")
            with suppress(OSError):  # where there are folders, unless it has others
                fs.rmdir(folder)
        for each in gone and gone & self._users(sha256):
            self.keep(each, sha256)

    def complete(self) -> None:
        """Mark, once for each store, what earlier releases have stored without such marks.

        That is done when this process is so old that no process of theirs stores any more.
        """
        if self._clock_s() - self._begun_s < COMPLETE_AFTER_S or self._are_all_there():
            return
        fs, root = self._file_system()
        named = (path.split("/")[-2:] for path in fs.find(f"{root}/references"))
        for workspace, sha256 in {(name.partition("-")[0], sha256) for sha256, name in named}:
            self.keep(workspace, sha256)
        write_mark(fs, f"{root}/{_COMPLETE}", b"")

    def _are_all_there(self) -> bool:
        fs, root = self._file_system()
        self._is_complete = self._is_complete or bool(fs.exists(f"{root}/{_COMPLETE}"))
        return self._is_complete

    def _users(self, sha256: str) -> set[str]:
        """Return the workspaces whose executions have a mark of an artifact."""
        fs, root = self._file_system()
        paths = listed(fs, f"{root}/references/{sha256}")
        return {path.rpartition("/")[2].partition("-")[0] for path in paths}
