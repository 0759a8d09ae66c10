"""TCP connections of this machine as the kernel lists them, and the end of those of a process.

A table of the kernel names the user of each end, so it tells who has opened a connection to a
server on the same machine. `pidfd_getfd` then gives a copy of the server's end, and what is done to
it is done to the server's: the connection is reset, as if the other side had done that, and no end
of it stays in the tables.

Used by `serve/stack/foreign_connections.py` and `serve/stack/local_ray.py`.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, NamedTuple

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTENS: Final = "0A"
_IPV4_IN_IPV6: Final = "0000000000000000FFFF0000"
_SOCKET: Final = "socket:["
_PIDFD_GETFD: Final = ctypes.c_long(438)
"""The number of the call, for which Python and older C libraries have no function."""
_NO_ADDRESS: Final = (ctypes.c_char * 16)()
"""An address of the family AF_UNSPEC; to connect a socket with it resets its connection."""
_ENDED: Final = " 00000000:00000000 03:"
"""In each line of a connection that nobody has any more: tens of thousands under an attack."""
_libc: Final = ctypes.CDLL(None, use_errno=True)
SOCK_DIAG: Final = 4
"""The family of netlink; Python has no name for it."""
_BY_FAMILY: Final = 20
_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_TIME_WAIT: Final = 6
_ALL_BUT_ENDED: Final = 0xFFF & ~(1 << _TIME_WAIT)
_HEAD: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")
_LINE: Final = struct.Struct("=xBxx2s2s16s16s")
"""State, port and address of each end; the addresses of IPv4 have four bytes of sixteen."""
_OWNER: Final = struct.Struct("=II")
_OWNER_AT: Final = 64
_MOST_BYTES: Final = 1 << 17
_MAPPED: Final = bytes(10) + b"\xff\xff"

Line = tuple[str, str, str, int, int]
"""Both ends, the state, the user and the inode."""


class End(NamedTuple):
    """One end of a connection, or a socket that listens.

    The addresses, with ports, are as the kernel writes them, those of IPv4 the same for IPv6.
    ``inode`` is 0 where no process has that end any more; its user is then not known.
    """

    local: str
    remote: str
    state: str
    user: int
    inode: int


class Accepted(NamedTuple):
    """A connection that a process has accepted: its file there, and who has the other end."""

    number: int
    inode: int
    user: int


def ends_in(table: str) -> Iterator[End]:
    """Read the lines of a table of the kernel."""
    for line in table.splitlines()[1:]:
        if _ENDED in line:
            continue
        fields = line.split(maxsplit=10)
        if len(fields) > 9:  # the tenth is the inode
            local, remote = (each.removeprefix(_IPV4_IN_IPV6) for each in fields[1:3])
            yield End(local, remote, fields[3], int(fields[7]), int(fields[9]))


def accepted_from(
    ends: Iterable[End], sockets: Mapping[int, int], trusted: AbstractSet[int]
) -> list[Accepted]:
    """Return the connections that a process has accepted from users who are not trusted.

    Args:
        ends: Those of the whole machine; what changes while a table is read may be there twice.
        sockets: The sockets of the process: the number of its file by the inode.
        trusted: User ids. Who has closed the other end, or has it on another machine, is not known
            and left alone.
    """
    ports, own, others = set(), {}, {}
    for end in ends:
        if end.inode in sockets:
            if end.state == LISTENS:
                ports.add(_port(end.local))
            else:
                own[end.inode] = end
        if end.inode and end.user not in trusted:
            others[end.local, end.remote] = end.user
    return [
        Accepted(sockets[end.inode], end.inode, user)
        for end in own.values()
        if _port(end.local) in ports and (user := others.get((end.remote, end.local))) is not None
    ]


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def all_ends() -> list[End]:
    """Return those of this machine.

    Raises:
        OSError: The kernel does not tell.
    """
    try:
        families = (socket.AF_INET, socket.AF_INET6)
        return [End(*line) for family in families for line in lines_of(family)]
    except OSError:  # not every kernel has that
        return ends_of_tables()


def lines_of(family: int) -> Iterator[Line]:
    """Yield the connections of TCP that somebody has, and the sockets that listen.

    Args:
        family: ``AF_INET`` or ``AF_INET6``.

    Raises:
        OSError: The system does not tell.
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, SOCK_DIAG
    ) as asked:
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_BUT_ENDED)
        asked.send(_HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
        while True:
            answer, at = asked.recv(_MOST_BYTES), 0
            while at < len(answer):
                length, kind, *_ = _HEAD.unpack_from(answer, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", answer, at + _HEAD.size)
                    raise OSError(-code, os.strerror(-code))
                yield _line(answer, at + _HEAD.size, family)
                at += (length + 3) & ~3


def _line(answer: bytes, at: int, family: int) -> Line:
    state, own_port, other_port, own, other = _LINE.unpack_from(answer, at)
    user, inode = _OWNER.unpack_from(answer, at + _OWNER_AT)
    if family == socket.AF_INET:
        own, other = own[:4], other[:4]
    else:
        own, other = own.removeprefix(_MAPPED), other.removeprefix(_MAPPED)
    local, remote = f"{own.hex()}:{own_port.hex()}", f"{other.hex()}:{other_port.hex()}"
    return local, remote, f"{state:02X}", user, inode


def ends_of_tables() -> list[End]:
    """Return those of this machine, which takes eight times as long.

    Raises:
        OSError: The kernel has no such table.
    """
    return [end for table in TABLES if table.exists() for end in ends_in(table.read_text("ascii"))]


def sockets_of(process: int) -> dict[int, int]:
    """Return the sockets of a process: the number of its file by the inode.

    Raises:
        OSError: It has ended, or is another user's.
    """
    found = {}
    for name in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208 - there may be thousands
        try:
            target = os.readlink(f"/proc/{process}/fd/{name}")  # noqa: PTH115 - the same
        except OSError:  # it has just been closed
            continue
        if target.startswith(_SOCKET):
            found[int(target[len(_SOCKET) : -1])] = int(name)
    return found


def shut(process: int, connections: Iterable[Accepted]) -> int:
    """End connections of a process, and return how many of them it still had.

    Raises:
        OSError: The process has ended, or the system does not let this one at its files.
    """
    handle = os.pidfd_open(process)
    count = 0
    try:
        for each in connections:
            try:
                copy = _copy(handle, each.number)
            except FileNotFoundError:
                continue
            try:
                if os.fstat(copy).st_ino == each.inode:  # else the number is another file's now
                    _libc.connect(ctypes.c_int(copy), _NO_ADDRESS, len(_NO_ADDRESS))
                    count += 1
            finally:
                os.close(copy)
    finally:
        os.close(handle)
    return count


def why_not(process: int) -> str:
    """Return why the system does not let this process at the files of another; empty if it does."""
    try:
        handle = os.pidfd_open(process)
        try:
            os.close(_copy(handle, int(os.listdir(f"/proc/{process}/fd")[0])))  # noqa: PTH208 - as above
        finally:
            os.close(handle)
    except FileNotFoundError:  # it has closed that file meanwhile, so the system let us look
        return ""
    except (AttributeError, OSError) as error:  # other systems than Linux have no pidfd_open
        return str(error)
    return ""


def _copy(handle: int, number: int) -> int:
    """Return a file of this process for one of another.

    Raises:
        FileNotFoundError: It has no such file any more.
        OSError: The system does not let this process have it.
    """
    copy = int(_libc.syscall(_PIDFD_GETFD, ctypes.c_int(handle), ctypes.c_int(number), 0))
    if copy >= 0:
        return copy
    code = ctypes.get_errno()
    if code == errno.EBADF:
        raise FileNotFoundError(code, os.strerror(code))
    raise OSError(code, os.strerror(code))
