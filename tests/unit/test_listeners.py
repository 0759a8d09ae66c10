"""What listens is listed with its address, by ``ss`` and from the kernel's tables alike."""

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from tests.listeners import Listener, by_ss, by_tables, listeners

WAYS = [by_tables, listeners, *([by_ss] if shutil.which("ss") else [])]
PLACES = [
    (socket.AF_INET, "127.0.0.1", True),
    (socket.AF_INET, "0.0.0.0", False),
    (socket.AF_INET6, "::1", True),
    (socket.AF_INET6, "::ffff:127.0.0.1", True),
    (socket.AF_INET6, "::", False),
]


@pytest.mark.parametrize("listed", WAYS)
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_each_socket_is_listed_and_known_for_local_or_not(
    listed: Callable[[list[int]], list[Listener]], kind: socket.SocketKind
) -> None:
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with ExitStack() as opened:
        for family, host, is_local in PLACES:
            server = opened.enter_context(socket.socket(family, kind))
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host == "::"))
            server.bind((host, 0))
            if kind == socket.SOCK_STREAM:
                server.listen()
            port = server.getsockname()[1]
            [found] = [each for each in listed([os.getpid()]) if each.port == port]
            assert (found.protocol, found.is_local) == (protocol, is_local)
            assert found.is_local or found.address in map(ip_address, ("::", "0.0.0.0"))


def test_what_only_connects_or_belongs_to_others_is_not_listed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            own = client.getsockname()[1]
            ports = {each.port for each in by_tables([os.getpid()])}
            assert port in ports
            assert own not in ports
        assert not [each for each in by_tables([os.getppid()]) if each.port == port]
