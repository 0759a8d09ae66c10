"""Sockets on which processes listen, as the kernel lists them."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

LISTENS: Final = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""The state of a socket that takes what comes from anywhere, in each of the kernel's tables."""
WORD: Final = 4


class Listener(NamedTuple):
    """One socket: ``tcp`` or ``udp``, where it listens, and the process that has it."""

    protocol: str
    address: IPv4Address | IPv6Address
    port: int
    pid: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        mapped = getattr(self.address, "ipv4_mapped", None)
        return bool((mapped or self.address).is_loopback)


def listeners(pids: Iterable[int]) -> list[Listener]:
    """List the sockets of some processes, by ``ss`` where there is one."""
    return list(set(by_ss(pids) if shutil.which("ss") else by_tables(pids)))


def by_ss(pids: Iterable[int]) -> list[Listener]:
    """Have ``ss`` list them."""
    wanted = set(pids)
    command = [shutil.which("ss") or "ss", "--no-header", "-ltnup"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ss
    found = []
    for line in shown.stdout.splitlines():
        protocol, _, _, _, where = line.split()[:5]
        host, _, port = where.rpartition(":")
        address = ip_address(_plain(host))
        pids_here = wanted.intersection(map(int, re.findall(r"pid=(\d+)", line)))
        found += [Listener(protocol, address, int(port), pid) for pid in pids_here]
    return found


def by_tables(pids: Iterable[int]) -> list[Listener]:
    """Look for them in the kernel's own tables."""
    owners = {inode: pid for pid in pids for inode in _sockets(pid)}
    found = []
    for table, state in LISTENS.items():
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in owners:
                host, _, port = fields[1].partition(":")
                where = _from_hexadecimal(host), int(port, 16)
                found.append(Listener(table[:3], *where, owners[fields[9]]))
    return found


def _sockets(pid: int) -> Iterator[str]:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # a process that has just ended
        return
    for link in links:
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except FileNotFoundError:  # a connection that has just ended
            continue
        if found:
            yield found[1]


def _plain(host: str) -> str:
    """Return an address without its brackets and interface; the star is every address."""
    return "::" if host == "*" else host.partition("%")[0].strip("[]")


def _from_hexadecimal(text: str) -> IPv4Address | IPv6Address:
    """Read an address that is written as words of the machine, whose bytes are turned round."""
    data = bytes.fromhex(text)
    words = [data[at : at + WORD][::-1] for at in range(0, len(data), WORD)]
    return ip_address(b"".join(words))
