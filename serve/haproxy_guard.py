"""Starts HAProxy so that it stays at home: run as a program, with HAProxy and its arguments.

Ray Serve writes HAProxy's configuration with pages of statistics that listen on every
interface, and leaves the process behind when its parent is killed. This program moves
the former to loopback, ties the latter to its parent, and then becomes HAProxy.

Until the API has started, Serve would have HAProxy answer 404, which tells a function that
its callback is not wanted. It answers 503 instead: come again, by another connection. For
this one stays with the process that was started without an API, even once there is one.

Serve has HAProxy look for the API on 127.0.0.1, but has the API listen where HAProxy does.
So all of it is told 127.0.0.1, and this program has HAProxy listen where it should.

Where the API does not answer, HAProxy says so itself, by 502, 503 or 504: Serve would have it
say 500, which means that asking again is of no use.

Whoever sends the headers of a request too slowly is let go of; Serve would wait for ever.

It runs before each (re)load, so it imports next to nothing.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
SECTIONS = ("frontend prometheus", "listen stats")
EVERYWHERE = ("bind :", "bind *:")
AT_HOME = "bind 127.0.0.1:"
PAGE_OF_500 = "    errorfile 50"
NOT_FOUND = "    http-request return status 404 "
STARTING = (
    "    http-request return status 503 content-type application/json"
    " hdr Retry-After 1 hdr Connection close"
    """ string '{"error_code":30101,"error":"the HTTP API is starting"}'\n"""
)
FRONT = "frontend http_frontend"
HEADERS_WITHIN = "    timeout http-request 30s\n"


def at_home(configuration: str) -> str:
    """Return a configuration whose pages of statistics listen on loopback only."""
    inside = False
    lines = []
    for line in configuration.splitlines(keepends=True):
        if line[:1].strip():
            inside = line.strip() in SECTIONS
        if inside:
            for everywhere in EVERYWHERE:
                line = line.replace(everywhere, AT_HOME)  # noqa: PLW2901 - the line as it is now
        lines.append(line)
    return "".join(lines)


def patient(configuration: str) -> str:
    """Return a configuration that asks for patience where there is no API yet."""
    lines = configuration.splitlines(keepends=True)
    return "".join(STARTING if line.startswith(NOT_FOUND) else line for line in lines)


def plain(configuration: str) -> str:
    """Return a configuration that does not say 500 where it means 502, 503 or 504."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(PAGE_OF_500))


def impatient(configuration: str) -> str:
    """Return a configuration that waits for the headers of a request for 30 s only."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line + HEADERS_WITHIN if line.strip() == FRONT else line for line in lines)


def reached(configuration: str, host: str) -> str:
    """Return a configuration whose front listens on another address than loopback."""
    address = f"bind [{host}]:" if ":" in host else f"bind {host}:"
    inside = False
    lines = []
    for line in configuration.splitlines(keepends=True):
        if line[:1].strip():
            inside = line.strip() == FRONT
        lines.append(line.replace(AT_HOME, address) if inside else line)
    return "".join(lines)


def main(host: str, command: list[str]) -> None:
    """Become HAProxy, which listens on an address."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.chdir("/")  # HAProxy does not start in a folder that has been removed
    if "-f" in command:
        path = command[command.index("-f") + 1]
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs 10 ms a reload
            configuration = file.read()
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - the same
            file.write(reached(plain(impatient(patient(at_home(configuration)))), host))
    os.execv(command[0], command)  # noqa: S606 - the binary that Ray chose


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
