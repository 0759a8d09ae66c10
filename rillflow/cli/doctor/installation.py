"""Findings about the installation: versions, the server's packages, and private APIs.

Used by `cli/doctor/examination.py`.
"""

import importlib
import importlib.util
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from rillflow.cli.doctor.finding import Finding, error, fine, one_line, warning
from rillflow.errors import StackError
from rillflow.extras import SERVER_MODULES

VERSIONS: Final = "versions"
INTERNALS: Final = "Ray internals"
OLDEST_PYTHON: Final = (3, 11)
INSTALL: Final = "pip install 'rillflow[server]'"


def versions() -> Iterator[Finding]:
    """Yield what is installed, and which of the server's packages are missing."""
    yield _python()
    missing = missing_packages()
    yield fine(VERSIONS, f"rillflow {_version('rillflow')}, ray {_version('ray') or 'none'}")
    if missing:
        yield warning(
            VERSIONS,
            f"packages of the server are missing: {', '.join(missing)}; the client, the command"
            " line and validation work without them",
            f"to run a server here: {INSTALL}",
        )
        return
    yield _haproxy()


def missing_packages() -> list[str]:
    """Return the modules of the server that are not installed, by name."""
    return sorted(each for each in SERVER_MODULES if importlib.util.find_spec(each) is None)


def internals() -> Iterator[Finding]:
    """Yield where an installed library differs from what Rillflow relies on beyond its promises."""
    report = importlib.import_module("rillflow.private_apis.report")
    checked = 0
    differs = False
    for found in report.findings():
        checked += 1
        if not found.differences:
            continue
        differs = True
        assumption = found.assumption
        told = f"{assumption.library} {found.installed}: {'; '.join(found.differences)}"
        follows = f"{told}. What follows is {assumption.if_it_changes}"
        remedy = f"install {assumption.library} {assumption.seen_with}, which Rillflow was made for"
        is_loud = assumption.if_it_changes.startswith("loud")
        yield (error if is_loud else warning)(INTERNALS, follows, remedy)
    if not differs:
        yield fine(INTERNALS, f"all {checked} private APIs are as Rillflow knows them")


def _python() -> Finding:
    found = platform.python_version()
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return error(VERSIONS, f"Python {found} is too old", f"use Python {oldest} or newer")
    return fine(VERSIONS, f"Python {found}, {platform.system()} {platform.machine()}")


def _haproxy() -> Finding:
    haproxy = importlib.import_module("rillflow.private_apis.haproxy.start")
    try:
        return fine(VERSIONS, f"HAProxy at {haproxy.haproxy_binary()}")
    except (StackError, ModuleNotFoundError) as problem:
        return error(VERSIONS, one_line(problem), f"{INSTALL}, on Linux")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
