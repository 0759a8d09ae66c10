"""What holds in every test: the outside world stays outside, and dear tests come last.

Outside ``tests/cluster`` and ``tests/bench`` a test may open connections to this
machine's loopback addresses only, and may not start or join Ray. The refusal is an
audit hook of the interpreter, so no library can go around it; and since a library may
well swallow the refusal, the test that met one fails at its end all the same.

Names below ``.invalid`` (reserved, RFC 2606) fail to resolve without a question to
anybody, so tests of unreachable hosts need no network either.
"""

import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.private_apis.kafka_client.limits import parse_in_python
from tests.fuzzing import load_profile

parse_in_python()  # before any test imports aiokafka

pytest_plugins = ("pytester", "tests.case_table", "tests.sampling")

_TESTS: Final = Path(__file__).parent
_FREE: Final = (_TESTS / "cluster", _TESTS / "bench")
_BY_COST: Final = ("spec", "golden", "unit", "contract", "api", "simulation", "cluster", "bench")
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
_CONNECTING: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")


class _Border:
    """Refuses the outside world while it is closed, and remembers each refusal."""

    def __init__(self) -> None:
        self.closed = True
        self.refusals: list[str] = []

    def watch(self, event: str, args: tuple[object, ...]) -> None:
        """Look at one audit event of the interpreter; called for every one of them."""
        if event in _CONNECTING:
            self._watch_address(args[0], args[1])
        elif event == "socket.getaddrinfo":
            self._watch_name(args[0])
        elif event == "subprocess.Popen":
            self._watch_process(args[0], args[1])

    def _watch_address(self, connection: object, address: object) -> None:
        family = getattr(connection, "family", None)
        if not (self.closed and family in _INTERNET and isinstance(address, tuple)):
            return
        if not _is_loopback(str(address[0])):
            self._refuse(f"a connection to {address[0]}")

    def _watch_name(self, host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if not self.closed or not isinstance(name, str) or _is_loopback(name):
            return
        if name.rstrip(".").endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, f"{name} is reserved and never resolves")
        self._refuse(f"a look-up of {name}")

    def _watch_process(self, executable: object, args: object) -> None:
        words = [str(executable), *(map(str, args) if isinstance(args, list | tuple) else ())]
        if self.closed and any("/ray/core/src/ray/" in word for word in words):
            self._refuse("a start of Ray")

    def _refuse(self, what: str) -> None:
        self.refusals.append(what)
        raise ConnectionRefusedError(f"{what} outside tests/cluster (see tests/conftest.py)")


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


_border: Final = _Border()
sys.addaudithook(_border.watch)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run cheap folders first, and let Ray start only when they are through."""
    rank = {folder: place for place, folder in enumerate(_BY_COST)}
    items.sort(key=lambda item: rank.get(_folder_of(item.path), len(rank)))


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over the thousands of tests and their modules.

    It went through all of them again and again: a fifth of the time of many tests, and a fifth of
    a second now and then in the middle of one whose time is measured.
    """
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Set how generated tests draw, and have Ctrl-C count where the shell has it ignored.

    Shells do that for what runs in the background. What a process ignores, its children
    ignore, and tests end theirs by Ctrl-C.
    """
    load_profile()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the border for the tests that are about Ray, and close it for all others."""
    _border.closed = not any(item.path.is_relative_to(folder) for folder in _FREE)


@pytest.fixture(autouse=True)
def _the_outside_world_stays_outside() -> Iterator[None]:
    _border.refusals.clear()
    ray_was_up = _ray_is_up()
    yield
    refusals = tuple(_border.refusals)
    if _border.closed and not ray_was_up and _ray_is_up():
        refusals += ("a connection to Ray",)
    assert not refusals, f"refused outside tests/cluster: {', '.join(refusals)}"


def _folder_of(path: Path) -> str:
    return path.relative_to(_TESTS).parts[0] if path.is_relative_to(_TESTS) else ""


def _ray_is_up() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
