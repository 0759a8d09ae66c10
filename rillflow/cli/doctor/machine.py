"""Findings about this machine: folders, space, memory, files, ports.

Used by `cli/doctor/examination.py`.
"""

import contextlib
import importlib
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rillflow.cli.doctor.finding import Finding, error, fine, one_line, warning
from rillflow.errors import StackError
from rillflow.settings import Settings
from rillflow.trusted_files.owners import why_movable, why_not_private

FOLDERS: Final = "folders"
MEMORY: Final = "memory"
FILES: Final = "open files"
PORT: Final = "port"

MEBIBYTE: Final = 1024 * 1024
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - Ray keeps its objects there
TEMPORARY: Final = Path("/tmp")  # noqa: S108 - folders in it are made by mkdtemp
OBJECT_STORE_BYTES: Final = 80 * MEBIBYTE
STACK_BYTES: Final = 900 * MEBIBYTE
"""What `rillflow up` takes after its start (README.md, *Measured*)."""
LEAST_STACK_BYTES: Final = 600 * MEBIBYTE
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3", "smbfs"}
)
FEW_FILES: Final = 1_024
MANY_FILES: Final = 4_096
"""HAProxy needs two files for each connection (``private_apis/haproxy/config.py``)."""


class Space(NamedTuple):
    """How much room a folder should have, and below how much nothing works."""

    wanted_bytes: int
    least_bytes: int


DATA: Final = Space(1024 * MEBIBYTE, 100 * MEBIBYTE)
SOCKETS: Final = Space(256 * MEBIBYTE, 16 * MEBIBYTE)
OBJECTS: Final = Space(OBJECT_STORE_BYTES * 2, OBJECT_STORE_BYTES)


def folders(settings: Settings) -> Iterator[Finding]:
    """Yield whether the folders that a stack writes in can be used, and have room."""
    yield from _data_folder(settings)
    yield from _temporary_folder(TEMPORARY)
    if SHARED_MEMORY.is_dir():
        remedy = "give it more: mount it larger, or in a container --shm-size=512m"
        yield _room_in(SHARED_MEMORY, OBJECTS, remedy)


def memory() -> Iterator[Finding]:
    """Yield whether there is memory for a stack."""
    free = free_memory_bytes()
    if free is None:
        return
    told = f"{_size(free)} are free; `rillflow up` takes about {_size(STACK_BYTES)}"
    remedy = "end other programs, or use a machine, or a limit of the container, of 2 GiB and more"
    if free < LEAST_STACK_BYTES:
        yield error(MEMORY, told, remedy)
    elif free < STACK_BYTES:
        yield warning(MEMORY, told, remedy)
    else:
        yield fine(MEMORY, told)


def open_files() -> Iterator[Finding]:
    """Yield whether a process may have enough open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "any number of" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    told = f"a process may open {soft:,} files, and ask for {most}"
    at_most = MANY_FILES * 16 if hard == resource.RLIM_INFINITY else hard
    if at_most < FEW_FILES:
        yield error(FILES, f"{told}: HAProxy and Ray need more", "raise the limit: ulimit -n 65536")
    elif soft < MANY_FILES:
        kept = f"{told}; the front takes about {max((soft - 200) * 2 // 5, 1):,} connections then"
        yield warning(FILES, kept, "before the start: ulimit -n 65536, or LimitNOFILE= of systemd")
    else:
        yield fine(FILES, told)


def port(settings: Settings) -> Iterator[Finding]:
    """Yield whether the API could listen where the settings say; nothing listens there now."""
    listening = importlib.import_module("serve.listening")
    where = f"{settings.host}:{settings.port}"
    try:
        listening.refuse_exposed(settings, settings.host)
    except StackError as problem:
        told, _, remedy = one_line(problem).partition(": ")
        yield error(PORT, f"the server would not start: {told}", remedy)
    try:
        listening.refuse_taken_port(settings.host, settings.port)
    except StackError as problem:
        remedy = "end the program that listens there, or set RILLFLOW_PORT or RILLFLOW_HOST"
        yield error(PORT, f"{one_line(problem)}; it is no server of Rillflow", remedy)
    else:
        yield fine(PORT, f"{where} is free; no server runs there")


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return what programs may still take, by the machine and by the limit of its container."""
    found = [each for each in (_of_machine(meminfo), _of_container()) if each is not None]
    return min(found, default=None)


def _of_machine(meminfo: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        most = int((root / "memory.max").read_text(encoding="ascii"))  # "max" without a limit
        taken = int((root / "memory.current").read_text(encoding="ascii"))
        return max(most - taken, 0)
    return None


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.resolve()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    remedy = "choose another folder with --data-dir (RILLFLOW_DATA_DIR)"
    if not there.is_dir():
        yield error(FOLDERS, f"the data folder {folder} cannot be made: {there} is a file", remedy)
        return
    reason = why_not_private(there.stat(), os.geteuid()) if there == folder else ""
    if reason:
        yield error(FOLDERS, f"the data folder {folder} is not used: {reason}", remedy)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield error(FOLDERS, f"the data folder {folder} cannot be written", remedy)
        return
    if reason := why_movable(folder, os.geteuid()):
        told = f"the data folder {folder} can be replaced by another one: {reason}"
        yield warning(FOLDERS, told, remedy)
    kind = file_system_of(there)
    if kind in NETWORK_FILE_SYSTEMS and settings.store_url.startswith("sqlite:"):
        yield error(
            FOLDERS,
            f"the data folder {folder} is on the network file system {kind}, where SQLite loses"
            " data",
            "choose a local folder with --data-dir, or PostgreSQL with --store",
        )
    yield _room_in(there, DATA, "free some space there, or choose another folder with --data-dir")


def _temporary_folder(folder: Path) -> Iterator[Finding]:
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        told = f"everybody may move what lies in {folder}, so a stack does not start"
        yield error(FOLDERS, told, f"chmod +t {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        told = f"{folder} cannot be written ({problem.strerror}): the stack has its sockets there"
        yield error(FOLDERS, told, f"make it writable, or free some space in {folder}")
        return
    yield _room_in(folder, SOCKETS, f"free some space in {folder}")


def _room_in(folder: Path, space: Space, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    told = f"{folder} has {_size(free)} free"
    if free < space.least_bytes:
        return error(FOLDERS, f"{told}, which is too little", remedy)
    if free < space.wanted_bytes:
        return warning(FOLDERS, f"{told}; {_size(space.wanted_bytes)} would be safe", remedy)
    return fine(FOLDERS, told)


def file_system_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the kind of file system in which a folder is; empty if it cannot be told."""
    best, kind = "", ""
    with contextlib.suppress(OSError, ValueError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            _, where, found, *_ = line.split(" ")
            place = where.replace("\\040", " ").rstrip("/")
            inside = str(path) == place or str(path).startswith(f"{place}/")
            if inside and len(place) >= len(best):
                best, kind = place, found
    return kind


def _size(size_bytes: int) -> str:
    gibibytes = size_bytes / (1024 * MEBIBYTE)
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{size_bytes // MEBIBYTE} MiB"
