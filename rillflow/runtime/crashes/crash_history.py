"""Executions that were being handled when their process died; the second death quarantines them.

One death may be chance: somebody killed the process, or another execution used all memory. So an
execution is suspected after the first death, and quarantined after the second, unless the step at
which the process died has succeeded since. A quarantined execution is not even read, because
reading may be what is fatal, until somebody redoes or cancels it.

A process that is killed (for its memory, or by a fault in native code) cannot report what it was
doing. So an owner records every step before it, in a memory-mapped page of a file. That costs a
fraction of a microsecond, and the next process on this machine reads it. Nothing is flushed to a
disk, since no execution is to blame for a failure of the machine.

Large executions are read beside the event loop, which handles others meanwhile. They are read one
at a time, and the page has a second place for that one. A death counts against both, because
nobody knows whose memory was too much.

Used by `actors`, `runtime/activation`, `runtime/owner` and `serve/stack`.
"""

import hashlib
import logging
import mmap
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rillflow.core.events import DispatchAnswered
from rillflow.errors import SetApartError
from rillflow.ids import ExecutionId, is_execution_id
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Call, Delivery, Query
from rillflow.ports.storage.store import Death, Journal
from rillflow.runtime.aio.background import BackgroundTasks
from rillflow.runtime.aio.retrying import retry_while_unavailable

log = logging.getLogger("rillflow.crashes")

REPLAY: Final = "replay"
OUTSTANDING: Final = "outstanding"
COMMANDS: Final = "commands"
"""Carrying out the commands of an execution: timers, calls, and hooks around them."""

_SIZE: Final = 4096
_HALF: Final = _SIZE // 2
"""Where the second place of the page begins."""
_PLACES: Final = ("/dev/shm", tempfile.gettempdir())  # noqa: S108 - checked to be ours
"""Shared memory comes first: on a full disk, writing to a page of a file kills the process."""


class Handling(NamedTuple):
    """What a process was doing, and for which execution; ``life`` is different for each process."""

    life: str
    execution_id: ExecutionId
    step: str


class HandlingRecord:
    """The place where one owner records what it is handling.

    ``left`` is what the process before was handling when it died, empty if it was handling nothing
    or if that is unknown. It is there until ``open`` starts the record of this process, so it must
    be stored before.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Keep the record in a file; without one, nothing is recorded."""
        self._path = path
        self._life = uuid.uuid4().hex
        self._page: mmap.mmap | bytearray = bytearray(_SIZE)
        self.left: tuple[Handling, ...] = () if path is None else _read(path)

    def open(self) -> None:
        """Start the record of this process in place of the one before.

        The earlier process may still be alive; it continues to write into a file that nobody reads.
        """
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{self._life}")
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                # The page is allocated from here on, so that no later write to it can fail.
                os.write(descriptor, bytes(_SIZE))
                self._page = mmap.mmap(descriptor, _SIZE)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
        except OSError as error:
            log.warning("handling_not_recorded", extra={"reason": str(error)})

    def begin(self, execution_id: ExecutionId, step: str) -> None:
        """Record what is handled from now on, in place of the last."""
        text = f"{self._life} {execution_id} {step}\0".encode("utf-8", "replace")
        length = len(text)
        if length > _HALF:
            text, length = text[:_HALF], _HALF
        self._page[:length] = text

    def end(self) -> None:
        """Record that nothing is handled now."""
        self._page[0] = 0

    def begin_beside(self, execution_id: ExecutionId, step: str) -> None:
        """Record the one step that lasts beside the others from now on."""
        text = f"{self._life} {execution_id} {step}\0".encode("utf-8", "replace")[:_HALF]
        self._page[_HALF : _HALF + len(text)] = text

    def end_beside(self) -> None:
        """Record that no step lasts beside the others now."""
        self._page[_HALF] = 0

    def remove(self) -> None:
        """Remove the file, because its owner leaves for good."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def step_of(call: Call) -> str:
    """Return the name of the step of a call, the same for every repetition of the call."""
    if isinstance(call, Delivery):
        event = call.event
        if isinstance(event, DispatchAnswered):
            return f"DispatchAnswered {event.task} {event.attempt}"
        attempt = getattr(event, "attempt", None) or ""
        return f"{type(event).__name__} {getattr(event, 'task', '')} {attempt}".rstrip()
    return f"view {call.kind}" if isinstance(call, Query) else type(call).__name__


def record_path(store_url: str, namespace: str, owner: str) -> Path | None:
    """Return the record file of an owner of a stack, None if there is no place for it.

    The folder belongs to this user alone, and the next process of the stack finds it again.
    """
    folders = _folders(store_url, namespace)
    for folder in folders:
        if _is_ours(folder):
            return folder / owner.rpartition("_c_")[2]
    log.warning("handling_not_recorded", extra={"reason": f"{folders[0]} is somebody else's"})
    return None


def remove_records(store_url: str, namespace: str) -> None:
    """Remove the records of a stack that was stopped normally."""
    for folder in filter(_is_ours, _folders(store_url, namespace)):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(store_url: str, namespace: str) -> list[Path]:
    url = urlsplit(store_url)
    # Without user and password, because everybody can read the name of the folder.
    stack = f"{url.scheme}|{url.hostname}|{url.port}|{url.path}|{namespace}"
    name = f"rillflow-{os.geteuid()}-{hashlib.sha256(stack.encode()).hexdigest()[:16]}"
    return [Path(place) / name for place in _PLACES]


def _is_ours(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return is_private and found.st_uid == os.geteuid()


def _read(path: Path) -> tuple[Handling, ...]:
    try:
        return parse_page(path.read_bytes())
    except OSError:
        return ()


def parse_page(page: bytes) -> tuple[Handling, ...]:
    """Parse a page; empty if the process handled nothing, or the page is damaged."""
    places = map(_parsed, (page[:_HALF], page[_HALF:_SIZE]))
    return tuple(each for each in places if each is not None)


def _parsed(place: bytes) -> Handling | None:
    try:
        text = place.partition(b"\0")[0].decode()
    except ValueError:
        return None
    life, _, rest = text.partition(" ")
    execution_id, _, step = rest.partition(" ")
    return Handling(life, execution_id, step) if is_execution_id(execution_id) else None


MOST_DEATHS: Final = 2
_OVER: Final = object()


def reason_of(deaths: Sequence[Death]) -> str:
    """Return why an execution with these deaths is in quarantine."""
    steps = " and ".join(repr(death.step) for death in deaths)
    return (
        f"the process that handled it died {len(deaths)} times, in the"
        f" steps {steps}; it goes on after a redo or a cancellation"
    )


class CrashHistory:
    """The deaths of earlier processes that count against the executions of one owner.

    They are in the store before the owner handles anything.
    """

    def __init__(self, journal: Journal, record: HandlingRecord) -> None:
        """Count what is in the store and what the process before has left in ``record``."""
        self._journal = journal
        self._record = record
        self.begin = record.begin
        """Record the step that is handled from now on, until the next step or the end."""
        self.end = record.end
        """Record that no step is handled now."""
        self._background = BackgroundTasks(_not_forgotten)
        self._by_id: dict[ExecutionId, list[Death]] = {}
        self.suspects: Collection[ExecutionId] = self._by_id.keys()
        """The executions that any death counts against."""

    async def start(self, clock: Clock, owns: Callable[[ExecutionId], bool]) -> None:
        """Store what the process before died of, and read the deaths of all executions.

        Raises:
            StoreError: The store cannot be read or written.
        """
        for left in self._record.left:
            death = Death(
                execution_id=left.execution_id,
                life=left.life,
                step=left.step,
                at_ms=clock.now_ms(),
            )
            await self._journal.note_death(death)
            log.error("died_of", extra={"execution_id": left.execution_id, "step": left.step})
        self._record.open()
        found = await self._journal.deaths()
        self._by_id.clear()  # An earlier start may have failed halfway.
        for death in found:
            if owns(death.execution_id):
                self._by_id.setdefault(death.execution_id, []).append(death)
        for execution_id in filter(self.is_set_apart, self._by_id):
            facts = {"execution_id": execution_id, "reason": self._reason(execution_id)}
            log.error("set_apart", extra=facts)

    async def stop(self) -> None:
        """Cancel pending deletions; the next process makes them."""
        await self._background.stop()

    async def look_again(self, execution_id: ExecutionId) -> None:
        """Read the deaths of an execution that has an owner of its own.

        Raises:
            StoreError: The store cannot be read.
        """
        found = [each for each in await self._journal.deaths() if each.execution_id == execution_id]
        self._by_id.pop(execution_id, None)
        if found:
            self._by_id[execution_id] = found

    def is_set_apart(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is quarantined."""
        return bool(self._by_id) and len(self._by_id.get(execution_id, ())) >= MOST_DEATHS

    def refuse(self, execution_id: ExecutionId) -> None:
        """Accept an execution that may be handled.

        Raises:
            SetApartError: It is quarantined.
        """
        if self._by_id and self.is_set_apart(execution_id):
            raise SetApartError(execution_id, self._reason(execution_id))

    @contextmanager
    def during(self, execution_id: ExecutionId, step: str) -> Iterator[None]:
        """Record that a step is handled, and afterwards that it succeeded."""
        self._record.begin(execution_id, step)
        try:
            yield
        finally:
            self._record.end()
        self.survived(execution_id, step)

    @contextmanager
    def beside(self, execution_id: ExecutionId, step: str) -> Iterator[None]:
        """Record the one step that lasts beside the others; whether it succeeds, others tell."""
        self._record.begin_beside(execution_id, step)
        try:
            yield
        finally:
            self._record.end_beside()

    def each_recorded(
        self, execution_id: ExecutionId, step: str, parts: Iterator[None]
    ) -> Iterator[None]:
        """Handle the parts of a step and record it during each; other steps may come in between."""
        is_over = False
        while not is_over:
            self._record.begin(execution_id, step)
            try:
                is_over = next(parts, _OVER) is _OVER
            finally:
                self._record.end()
            yield

    def survived(self, execution_id: ExecutionId, step: str) -> None:
        """Note that a step succeeded, so an earlier death in it was chance."""
        if not self._by_id or self.is_set_apart(execution_id):
            return
        deaths = self._by_id.get(execution_id, [])
        left = [death for death in deaths if death.step != step]
        if len(left) == len(deaths):
            return
        self._by_id[execution_id] = left
        if not left:
            del self._by_id[execution_id]
        self._background.begin(execution_id, self._forget_durably(execution_id, step))

    def forget(self, execution_id: ExecutionId) -> bool:
        """Drop the deaths of an execution; return whether it was quarantined."""
        was_set_apart = self.is_set_apart(execution_id)
        if self._by_id.pop(execution_id, None) is not None:
            self._background.begin(execution_id, self._forget_durably(execution_id, None))
        return was_set_apart

    async def _forget_durably(self, execution_id: ExecutionId, step: str | None) -> None:
        await retry_while_unavailable(lambda: self._journal.forget_deaths(execution_id, step))

    def _reason(self, execution_id: ExecutionId) -> str:
        return reason_of(self._by_id[execution_id])


def _not_forgotten(execution_id: ExecutionId, error: Exception) -> None:
    log.error("deaths_not_forgotten", extra={"execution_id": execution_id}, exc_info=error)
