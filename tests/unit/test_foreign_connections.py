"""Connections of other users of the machine to a server that has many files are shut."""

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from serve.stack.few_files import FEWEST, MOST, many_files
from serve.stack.foreign_connections import MORE_FILES, ForeignConnections
from serve.stack.machine_connections import (
    Accepted,
    End,
    accepted_from,
    all_ends,
    ends_in,
    ends_of_tables,
    why_not,
)
from serve.stack.serve_servers import ServeServers
from tests.foreign_users import NOBODY, another, give_to

TABLE: Final = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:459C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 00
   1: 0100007F:459C 0100007F:B242 01 00000000:00000000 00:00000000 00000000  1000        0 12 3 00
   2: 0100007F:B242 0100007F:459C 01 00000000:00000000 00:00000000 00000000  1001        0 13 3 00
   3: 0100007F:459C 0100007F:B243 01 00000000:00000000 00:00000000 00000000  1000        0 14 3 00
   4: 0100007F:B243 0100007F:459C 01 00000000:00000000 00:00000000 00000000  1000        0 15 3 00
   5: 0100007F:459C 0100007F:B244 08 00000000:00000000 00:00000000 00000000  1000        0 16 3 00
   6: 0100007F:B244 0100007F:459C 05 00000000:00000000 00:00000000 00000000     0        0 0 3 00
   7: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 17 3 00
   8: 0100007F:459C 0100007F:B245 06 00000000:00000000 03:0000071A 00000000     0        0 0 3 00
   9: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1001        0 18 3 00
"""
TABLE_OF_IPV6: Final = """\
  sl  local_address                         remote_address                        st tx_queue ...
   0: 00000000000000000000000000000000:459D 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000  1000        0 21 1 00
   1: 0000000000000000FFFF00000100007F:459D 0000000000000000FFFF00000100007F:B300 01 \
00000000:00000000 00:00000000 00000000  1000        0 22 1 00
"""
OTHER_END: Final = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:B300 0100007F:459D 01 00000000:00000000 00:00000000 00000000  1001        0 23 3 00
"""
SERVER: Final = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listening.getsockname()[1], flush=True)
held = [listening.accept() for _ in range(int(sys.argv[1]))]
print("held", flush=True)
sys.stdin.read()
"""
NAMED: Final = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
print(flush=True)
sys.stdin.read()
"""
PARENT_OF_NAMED: Final = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {NAMED!r}, sys.argv[1]])
"""
MANY: Final = MORE_FILES + 20
MISSED: Final = 20
"""Lines of a table that may be left out while connections of other programs come and go."""


def test_an_end_is_read_with_its_user_and_its_inode() -> None:
    ends = list(ends_in(TABLE))
    assert len(ends) == 9
    assert ends[2] == ("0100007F:B242", "0100007F:459C", "01", 1001, 13)
    assert ends[6].inode == 0
    assert list(ends_in(TABLE_OF_IPV6))[1].local == "0100007F:459D"
    assert list(ends_in("")) == []


def test_what_others_have_opened_is_found_and_nothing_else() -> None:
    """Neither what trusted users opened, nor what nobody has any more, nor what goes out."""
    files = {11: 5, 12: 6, 14: 7, 16: 8, 17: 9}
    ends = list(ends_in(TABLE))
    assert accepted_from(ends, files, {0, 1000}) == [Accepted(6, 12, 1001)]
    assert accepted_from([*ends, *ends], files, {0, 1000}) == [Accepted(6, 12, 1001)]
    assert accepted_from(ends, files, {0, 1000, 1001}) == []
    assert accepted_from(ends, {}, {0}) == []


def test_who_reaches_a_socket_of_ipv6_by_ipv4_is_found_in_the_other_table() -> None:
    ends = [*ends_in(OTHER_END), *ends_in(TABLE_OF_IPV6)]
    assert accepted_from(ends, {21: 5, 22: 6}, {0, 1000}) == [Accepted(6, 22, 1001)]


def test_those_of_another_user_are_shut_once_the_server_has_many_files() -> None:
    with serving(MANY) as (server, clients):
        give_to(NOBODY, clients)
        assert why_not(server) == ""
        watch = ForeignConnections(lambda: [server], user=another())
        assert watch.look() > MANY - MISSED
        assert wait_for_end(clients) > MANY - MISSED


def test_those_of_the_same_user_are_left_and_not_looked_for_again() -> None:
    with serving(MANY) as (server, clients):
        watch = ForeignConnections(lambda: [server])
        assert watch.look() == 0
        give_to(NOBODY, clients)
        assert watch.look() == 0, "it has no more files than before"
        assert not select.select(clients, (), (), 0)[0]


def test_a_few_are_left() -> None:
    with serving(3) as (server, clients):
        give_to(NOBODY, clients)
        assert ForeignConnections(lambda: [server], user=another()).look() == 0


def test_a_server_that_has_ended_ends_nothing() -> None:
    with serving(0) as (server, _):
        pass
    assert ForeignConnections(lambda: [server]).look() == 0
    assert why_not(server) != ""


def test_it_is_looked_at_in_a_thread_until_that_is_told_to_stop() -> None:
    with serving(MANY) as (server, clients):
        give_to(NOBODY, clients)
        watch = ForeignConnections(lambda: [server], user=another())
        watch.start()
        try:
            assert wait_for_end(clients) > MANY - MISSED
        finally:
            watch.stop()


def test_a_look_that_fails_for_want_of_a_file_is_soon_repeated() -> None:
    with serving(MANY) as (server, clients):
        give_to(NOBODY, clients)
        looks = iter([OSError(errno.EMFILE, "Too many open files"), None])

        def servers() -> list[int]:
            if error := next(looks, None):
                raise error
            return [server]

        watch = ForeignConnections(servers, user=another())
        watch.start()
        try:
            assert wait_for_end(clients) > MANY - MISSED
        finally:
            watch.stop()


@pytest.mark.parametrize("ends", [all_ends, ends_of_tables])
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_both_ways_to_ask_the_kernel_find_who_has_connected(
    ends: Callable[[], list[End]], host: str
) -> None:
    """Also where a socket of IPv6 is reached by IPv4."""
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listening:
        address = ("127.0.0.1", listening.getsockname()[1])
        with socket.create_connection(address), listening.accept()[0] as accepted:
            files = {
                os.fstat(each.fileno()).st_ino: each.fileno() for each in (listening, accepted)
            }
            found = accepted_from(ends(), files, set())
            assert found == [(accepted.fileno(), os.fstat(accepted.fileno()).st_ino, os.getuid())]
            assert accepted_from(ends(), files, {os.getuid()}) == []


def test_a_server_that_is_watched_has_more_files_where_there_is_memory() -> None:
    assert many_files(None) == many_files(1 << 30) == FEWEST
    assert many_files(4 << 30) == 4 * FEWEST
    assert many_files(16 << 30) == many_files(1 << 40) // 2 == MOST


def test_processes_of_serve_are_found_below_the_one_that_has_started_them() -> None:
    with ExitStack() as started:
        for program, name in (
            (NAMED, "ray::ServeReplica:one"),
            (PARENT_OF_NAMED, "ray::ProxyActor (x)"),
            (NAMED, "ray::IDLE"),
        ):
            process = started.enter_context(
                subprocess.Popen(  # noqa: S603 - ours
                    [sys.executable, "-c", program, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        found = {Path(f"/proc/{each}/comm").read_text("utf-8") for each in ServeServers()()}
        others = ServeServers(ancestor=process.pid)()
    assert found == {"ray::ServeRepli\n", "ray::ProxyActor\n"}
    assert others == []


@contextmanager
def serving(count: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Run a server that holds so many connections; yield its process and their other ends."""
    command = [sys.executable, "-c", SERVER, str(count)]
    with (
        subprocess.Popen(  # noqa: S603 - a server of this test
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        ExitStack() as opened,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(count)
        ]
        assert process.stdout.readline() == "held\n"
        yield process.pid, clients
        process.kill()


def wait_for_end(clients: list[socket.socket]) -> int:
    """Wait until nearly all of the connections have been reset, and return how many have."""
    polled = select.poll()
    for each in clients:
        polled.register(each, select.POLLIN)
    found = 0
    while found <= len(clients) - MISSED:
        ended = polled.poll(30_000)
        assert ended, found
        for number, _ in ended:
            polled.unregister(number)
        found += len(ended)
    return found
