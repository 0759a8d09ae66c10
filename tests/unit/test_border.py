"""Outside ``tests/cluster`` a test reaches this machine only, and a refusal fails it."""

import re
import socket
import sys
from pathlib import Path
from typing import Final

import pytest

PROBE: Final = """
import socket
import subprocess


def test_swallows_the_refusal():
    with socket.socket() as connection:
        try:
            connection.connect(("192.0.2.1", 9))
        except OSError:
            pass


def test_looks_up_a_name():
    try:
        socket.getaddrinfo("example.com", 80)
    except OSError:
        pass


def test_starts_ray():
    try:
        subprocess.run(["/x/ray/core/src/ray/raylet/raylet"], check=False)
    except OSError:
        pass


def test_stays_at_home():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()[:2]):
            pass
"""


def test_refusals_fail_the_test_even_when_swallowed(pytester: pytest.Pytester) -> None:
    conftest = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(re.sub("(?m)^pytest_plugins.*$", "", conftest))
    pytester.makepyfile(PROBE)
    without = ("-p", "no:schemathesis", "-p", "no:asyncio", "-p", "no:cacheprovider")
    result = pytester.run(sys.executable, "-m", "pytest", *without)
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*refused outside tests/cluster: a connection to 192.0.2.1*",
            "*refused outside tests/cluster: a look-up of example.com*",
            "*refused outside tests/cluster: a start of Ray*",
        ]
    )


def test_a_reserved_name_does_not_resolve_and_asks_nobody() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("functions.invalid", 80)
