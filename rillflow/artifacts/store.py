"""The store of artifacts: any file system of fsspec, such as a folder or a bucket.

An artifact is stored once, by its SHA-256, and each execution that uses it leaves a mark. It goes
with the last mark. Below the root of the store are:

- ``data/<sha256>``: the contents;
- ``references/<sha256>/<workspace>-<number>``: a mark, with the media type and the name;
- ``executions/<workspace>-<number>/<sha256>-<bytes>``: the same mark, found by the execution, with
  the workspaces for which it has left one;
- ``keys/<workspace>-<number>/<key id>``: with which key an execution was started (`marks.py`);
- ``used/<key id>/<workspace>-<number>-<sha256>-<bytes>``: the marks of its executions once more;
- ``workspaces/<workspace>/<sha256>``: that a workspace has such marks (`workspace_marks.py`);
- ``trash/<sha256>``: contents without a mark, which are deleted a while later.

``workspace`` is a hash of the execution's workspace, and ``number`` one of its id. An execution
uses what another one of its workspace has a mark of, and nothing else. What a sub-flow makes has a
mark for each workspace above it too; what it only uses has none.

Processes need no lock between them. Whoever uses an artifact leaves the mark first, and looks for
the contents afterwards; contents that lose their last mark lie in the trash for longer than that
takes, where they are still found, and come back if there is a mark again.

All methods block, so event loops call them in threads.

Used by `artifacts/calls.py`, `runtime` and `serve/routes/artifacts.py`.
"""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from rillflow.artifacts.artifact import PIECE_BYTES
from rillflow.artifacts.execution_totals import ExecutionTotal, ExecutionTotals
from rillflow.artifacts.marks import (
    KeyMarks,
    charged,
    first_in,
    is_local,
    listed,
    size_in,
    write_mark,
)
from rillflow.artifacts.references import (
    ArtifactReference,
    clean_media_type,
    clean_name,
    is_sha256,
)
from rillflow.artifacts.store_room import require_free
from rillflow.artifacts.store_total import FRESH_S, StoreTotal, bytes_in
from rillflow.artifacts.users import User, hashed, user_of
from rillflow.artifacts.workspace_marks import WorkspaceMarks
from rillflow.errors import ArtifactLostError, TooLargeError
from rillflow.ids import workspace_of

TRASH_S: Final = 3_600.0
"""How long contents stay in the trash: longer than any store of an artifact takes."""
MOST_PER_EXECUTION: Final = 10_000
_LARGEST_MARK: Final = 4_096
_HASH: Final = re.compile(r"[0-9a-f]{16}")


class ArtifactStore:
    """Artifacts at a URL, within limits.

    Args:
        url: Of the root, as fsspec has it: ``file:///folder``, ``s3://bucket/folder``.
        max_bytes: Limit of one artifact.
        execution_max_bytes: Limit of all artifacts of an execution together. What other processes
            store within ten seconds may exceed it.
        min_free_bytes: Space that artifacts leave free on a local disk, and inodes for it.
        total_bytes: Limit of the contents of the whole store, those in the trash too. What other
            processes store within ten seconds may exceed it.
    """

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        execution_max_bytes: int,
        min_free_bytes: int = 0,
        total_bytes: int | None = None,
    ) -> None:
        self._url = url
        self.max_bytes = max_bytes
        self._execution_max_bytes = execution_max_bytes
        self._min_free_bytes = min_free_bytes
        self._total = StoreTotal(total_bytes)
        self._opened: tuple[Any, str] | None = None
        self.keys = KeyMarks(self._file_system)
        self.workspaces = WorkspaceMarks(self._file_system)
        self.totals = ExecutionTotals()

    def put(
        self, execution: str, data: BinaryIO, *, media_type: str, name: str
    ) -> ArtifactReference:
        """Store what a stream has, as an artifact of an execution.

        ``execution`` is what ``execution_key`` returns, here and in all methods.

        Raises:
            TooLargeError: It is, or all of the execution are together.
            OSError: The store failed.
        """
        with self._draft() as draft:
            size, sha256 = self._copied(data, draft)
            reference = ArtifactReference(
                sha256, size, clean_media_type(media_type), clean_name(name)
            )
            user = user_of(execution)
            is_new = self._check_room(user, reference)
            self._require_total(reference)
            self._mark(user, reference, user.marks)
            if is_new:
                self.totals.add(user.name, size)
            fs, root = self._file_system()
            if not fs.exists(f"{root}/data/{sha256}"):
                self._total.add(size)
                if self._is_local:
                    Path(draft.name).replace(f"{root}/data/{sha256}")
                else:
                    fs.put_file(draft.name, f"{root}/data/{sha256}")
        return reference

    def scratch(self) -> BinaryIO:
        """Open a file without a name for contents that arrive; its disk has room for them.

        It lies on the disk of a local store, or in the folder for temporary files.

        Raises:
            OSError: The disk has no room, or the store failed.
        """
        folder = self._scratch_folder()
        self.require_free()
        return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))

    def require_free(self, more_bytes: int = 0) -> None:
        """Refuse to take more bytes than leave enough space free on the disk.

        Raises:
            OSError: Its number is ``ENOSPC``.
        """
        require_free(self._scratch_folder(), self._min_free_bytes, more_bytes)

    def _require_total(self, reference: ArtifactReference) -> None:
        """Refuse contents that are new, and for which the whole store has no room."""
        fs, root = self._file_system()
        if self._total.most_bytes is not None and not fs.exists(self._place_of(reference)):
            folders = (f"{root}/data", f"{root}/trash")
            self._total.require(
                reference.size_bytes, lambda: sum(bytes_in(fs, each) for each in folders)
            )

    def adopt(
        self,
        execution: str,
        reference: ArtifactReference,
        require: "Callable[[ArtifactStore, User, int], None] | None" = None,
    ) -> None:
        """Note that an execution uses an artifact, so that it stays as long as the execution does.

        What belongs to other workspaces only is refused as if it did not exist. What the execution
        has not used before is refused where ``require`` raises, by the user and the bytes.

        Raises:
            ArtifactLostError: It is gone, or belongs to another workspace.
            OSError: The store failed.
        """
        fs, root = self._file_system()
        sha256, user = reference.sha256, user_of(execution)
        if not fs.exists(_mark_path(root, user.name, sha256)):
            if not self.workspaces.have(user.workspaces, sha256):
                raise _gone(reference)
            self._check_exists(reference)
            # Marks take room too. They get more of it, so that what is there can still be used.
            require_free(self._scratch_folder(), self._min_free_bytes // 2)
            size = int(fs.size(self._place_of(reference)) or 0)
            actual = reference._replace(size_bytes=size)
            self._check_room(user, actual)
            if require is not None:
                require(self, user, size)
            self._mark(user, actual, [user.name])
            self.totals.add(user.name, size)
        if not fs.exists(f"{root}/data/{sha256}"):
            self._check_exists(reference)
            fs.cp_file(f"{root}/trash/{sha256}", f"{root}/data/{sha256}")

    def open(self, reference: ArtifactReference) -> BinaryIO:
        """Open an artifact for reading, at any position.

        Raises:
            ArtifactLostError: It is gone.
            OSError: The store failed.
        """
        fs, _ = self._file_system()
        try:
            return cast("BinaryIO", fs.open(self._place_of(reference), "rb"))
        except FileNotFoundError:
            raise _gone(reference) from None

    def find(self, sha256: str, execution: str | None = None) -> ArtifactReference | None:
        """Return an artifact by its SHA-256, as an execution that uses it has named it.

        Args:
            sha256: Of its content.
            execution: The execution that has named it; any one if it is None.

        Raises:
            OSError: The store failed.
        """
        if not is_sha256(sha256):
            return None
        fs, root = self._file_system()
        if execution is None:
            found = first_in(fs, f"{root}/references/{sha256}")
            marks = [] if found is None else [found]
        else:
            marks = [_mark_path(root, user_of(execution).name, sha256)]
        for path in marks:
            with suppress(FileNotFoundError, ValueError):
                said = json.loads(fs.cat_file(path, end=_LARGEST_MARK))
                media_type, name = said["media_type"], said["name"]
                named = ArtifactReference(sha256, 0, clean_media_type(media_type), clean_name(name))
                return named._replace(size_bytes=int(fs.size(self._place_of(named)) or 0))
        return None

    def total_of(self, execution: str) -> ExecutionTotal:
        """Read how many artifacts an execution has, and their bytes.

        It lists their names, so callers look first whether ``totals`` has it.

        Raises:
            OSError: The store failed.
        """
        fs, root = self._file_system()
        name = user_of(execution).name
        sizes = [size_in(path) for path in listed(fs, f"{root}/executions/{name}")]
        total = ExecutionTotal(len(sizes), sum(sizes))
        self.totals.keep(name, total)
        return total

    def total_of_workspace(self, business: str) -> int:
        """Return the bytes that the artifacts of the executions of a workspace count for.

        What several of them use counts for each, and a small one as ``charged``. It reads the names
        of all executions' marks.

        Raises:
            OSError: The store failed.
        """
        fs, root = self._file_system()
        prefix = f"{hashed(business, 8)}-"
        paths = fs.find(f"{root}/executions")
        own = (path for path in paths if path.split("/")[-2].startswith(prefix))
        return sum(charged(size_in(path)) for path in own)

    def belongs(self, sha256: str, execution: str) -> bool:
        """Tell whether an execution uses an artifact.

        Raises:
            OSError: The store failed.
        """
        fs, root = self._file_system()
        path = _mark_path(root, user_of(execution).name, sha256)
        return is_sha256(sha256) and bool(fs.exists(path))

    def executions(self) -> set[str]:
        """Return the names of the executions that have artifacts, or the mark of a key.

        Raises:
            OSError: The store failed.
        """
        fs, root = self._file_system()
        found = listed(fs, f"{root}/executions")
        return {path.rstrip("/").rpartition("/")[2] for path in found} | self.keys.executions()

    def release(self, execution: str, heir: str | None = None) -> int:
        """Take the marks of an execution that is removed; return how many there were.

        Args:
            execution: The execution.
            heir: An execution that keeps those of its artifacts that it may use, such as its
                parent.

        Raises:
            OSError: The store failed; the rest is left to another call.
        """
        fs, root = self._file_system()
        user = user_of(execution)
        folder = f"{root}/executions/{user.name}"
        paths, key_ids = listed(fs, folder), self.keys.ids_of(user.name)
        for path in paths:
            noted = path.rpartition("/")[2]
            self.keys.uncount(key_ids, user.name, noted)
            sha256 = noted.partition("-")[0]
            if heir is not None and self.workspaces.have(user_of(heir).workspaces, sha256):
                self._bequeath(noted, user.name, user_of(heir).name)
            marks = self._marks_of(user, path)
            for gone in (*marks, path):
                with suppress(FileNotFoundError):
                    fs.rm_file(gone)
            if first_in(fs, f"{root}/references/{sha256}") is None:
                self._discard(sha256)
            names = (mark.rpartition("/")[2] for mark in marks)
            self.workspaces.drop({name.partition("-")[0] for name in names}, sha256)
        for name in (user.name, *([] if heir is None else [user_of(heir).name])):
            self.totals.forget(name)
        self._remove_folder(folder)
        self.keys.drop(user.name)
        return len(paths)

    def _marks_of(self, user: User, path: str) -> list[str]:
        """Return the marks of an artifact that its mark at an execution names.

        That of an earlier release names none: they are looked for among those of all executions.
        """
        fs, root = self._file_system()
        folder = f"{root}/references/{path.rpartition('/')[2].partition('-')[0]}"
        with suppress(FileNotFoundError, ValueError, TypeError):
            workspaces = json.loads(fs.cat_file(path))  # some stores refuse a part of an empty file
            if all(_HASH.fullmatch(each) for each in workspaces):
                return [f"{folder}/{each}-{user.number}" for each in workspaces]
        return [mark for mark in listed(fs, folder) if user.has(mark)]

    def _bequeath(self, noted: str, execution: str, heir: str) -> None:
        """Mark for an heir what an execution that is removed has a mark of."""
        fs, root = self._file_system()
        sha256 = noted.partition("-")[0]
        with suppress(FileNotFoundError):
            text = fs.cat_file(_mark_path(root, execution, sha256))
            own = json.dumps([heir.partition("-")[0]]).encode()
            if not fs.exists(f"{root}/executions/{heir}/{noted}"):
                write_mark(fs, f"{root}/executions/{heir}/{noted}", own)
            write_mark(fs, _mark_path(root, heir, sha256), text)
            self.keys.count(heir, noted)

    def sweep(self, older_than_s: float = TRASH_S) -> int:
        """Delete what has been in the trash for a while; return how much that was.

        Raises:
            OSError: The store failed; the rest is left to another call.
        """
        fs, root = self._file_system()
        deleted = 0
        for path in listed(fs, f"{root}/trash"):
            sha256 = path.rpartition("/")[2]
            if first_in(fs, f"{root}/references/{sha256}") is not None:
                if not fs.exists(f"{root}/data/{sha256}"):
                    fs.cp_file(path, f"{root}/data/{sha256}")
            elif time.time() - fs.modified(path).timestamp() < older_than_s:  # noqa: TID251
                continue
            with suppress(FileNotFoundError):
                fs.rm_file(path)
                deleted += 1
        return deleted

    @property
    def _is_local(self) -> bool:
        return is_local(self._file_system()[0])

    def _file_system(self) -> tuple[Any, str]:
        """Return the file system and the root, which is made with its folders."""
        if self._opened is None:
            import fsspec  # noqa: PLC0415 - only where there are artifacts

            fs, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
            self._opened = fs, root.rstrip("/")
            if self._is_local:
                fs.auto_mkdir = True
                for folder in (root, f"{root}/data"):
                    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._opened

    @contextmanager
    def _draft(self) -> Iterator[BinaryIO]:
        """Open a file for contents whose SHA-256 is not known yet; in a local store beside them."""
        folder = self._scratch_folder()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".draft-", delete=False) as draft:
            try:
                yield cast("BinaryIO", draft)
            finally:
                with suppress(FileNotFoundError):
                    Path(draft.name).unlink()

    def _scratch_folder(self) -> str | None:
        _, root = self._file_system()
        return f"{root}/data" if self._is_local else None

    def _copied(self, data: BinaryIO, draft: BinaryIO) -> tuple[int, str]:
        """Copy a stream within the limit; return its size and SHA-256."""
        digest, size = hashlib.sha256(), 0
        while piece := data.read(PIECE_BYTES):
            size += len(piece)
            if size > self.max_bytes:
                raise TooLargeError(f"an artifact may have up to {self.max_bytes} bytes")
            self.require_free(len(piece))
            digest.update(piece)
            draft.write(piece)
        draft.flush()
        os.fsync(draft.fileno())
        return size, digest.hexdigest()

    def _check_room(self, user: User, reference: ArtifactReference) -> bool:
        """Refuse what an execution has no room for; return whether it is new for the execution."""
        fs, root = self._file_system()
        if fs.exists(_mark_path(root, user.name, reference.sha256)):
            return False
        known = self.totals.fresh(user.name, FRESH_S)
        count, total = known or self.total_of(user.name)
        if count >= MOST_PER_EXECUTION:
            raise TooLargeError(f"an execution may have up to {MOST_PER_EXECUTION} artifacts")
        if total + reference.size_bytes > self._execution_max_bytes:
            raise TooLargeError(
                f"artifacts of one execution have up to {self._execution_max_bytes} bytes together"
            )
        return True

    def _mark(self, user: User, reference: ArtifactReference, marks: Sequence[str]) -> None:
        fs, root = self._file_system()
        said = {"media_type": reference.media_type, "name": reference.name}
        text = json.dumps(said).encode()
        named = f"{reference.sha256}-{reference.size_bytes}"
        workspaces = [mark.partition("-")[0] for mark in marks]
        noted = json.dumps(workspaces).encode()
        write_mark(fs, f"{root}/executions/{user.name}/{named}", noted)
        for mark in marks:
            write_mark(fs, _mark_path(root, mark, reference.sha256), text)
            self.workspaces.keep(mark.partition("-")[0], reference.sha256)
        self.keys.count(user.name, named)

    def _check_exists(self, reference: ArtifactReference) -> None:
        fs, _ = self._file_system()
        if not fs.exists(self._place_of(reference)):
            raise _gone(reference)

    def _place_of(self, reference: ArtifactReference) -> str:
        """Return where contents lie: the trash, if they are nowhere else."""
        fs, root = self._file_system()
        data, trash = f"{root}/data/{reference.sha256}", f"{root}/trash/{reference.sha256}"
        return trash if not fs.exists(data) and fs.exists(trash) else data

    def _discard(self, sha256: str) -> None:
        """Put contents without a mark into the trash."""
        fs, root = self._file_system()
        with suppress(FileNotFoundError):
            # A copy is as young as the trash wants it to be.
            fs.cp_file(f"{root}/data/{sha256}", f"{root}/trash/{sha256}")
            fs.rm_file(f"{root}/data/{sha256}")
        self._remove_folder(f"{root}/references/{sha256}")

    def _remove_folder(self, folder: str) -> None:
        """Remove an empty folder, where there are any."""
        if self._is_local:
            with suppress(OSError):
                Path(folder).rmdir()


def execution_key(execution_id: str, above: Iterable[str] = ()) -> str:
    """Return the name of an execution in the store, which is not its id: ids are secrets.

    Args:
        execution_id: The execution.
        above: The executions that have started it as a sub-flow.
    """
    ids = (execution_id, *above)
    workspaces = dict.fromkeys(hashed(workspace_of(each), 8) for each in ids)
    return f"{'+'.join(workspaces)}-{hashed(execution_id, 20)}"


def _gone(reference: ArtifactReference) -> ArtifactLostError:
    return ArtifactLostError(f"the artifact {reference} is gone, or not of this workspace")


def _mark_path(root: str, execution: str, sha256: str) -> str:
    return f"{root}/references/{sha256}/{execution}"
