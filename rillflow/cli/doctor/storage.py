"""Findings about the store: reachable, version of its tables, damage, and who holds it.

Used by `cli/doctor/examination.py`.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from rillflow.cli.doctor.finding import Finding, error, fine, one_line, warning
from rillflow.cli.doctor.network import clock
from rillflow.errors import StoreError
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import Settings
from rillflow.stores import schema_status, short_check, sqlite_file
from rillflow.stores.schema_status import SchemaStatus
from rillflow.stores.urls import masked

STORE: Final = "store"
VERIFY: Final = "`rillflow db verify` tells all of it; docs/backup.md tells how to restore a backup"


def storage(settings: Settings) -> Iterator[Finding]:
    """Yield whether the store can be used."""
    url = settings.store_url
    shown = masked(url)
    try:
        path = sqlite_file(url)
        if path is not None and not path.exists():
            yield fine(STORE, f"{shown} is made at the first start")
            return
        found = asyncio.run(schema_status(url))
        yield from _version(shown, found)
        if found.found > found.wanted:
            return
        checked = asyncio.run(short_check(url, SystemClock().now_ms() / 1000))
    except StoreError as problem:
        remedy = VERIFY if sqlite_file(url) else "start the database, or correct RILLFLOW_STORE"
        yield error(STORE, f"{shown} cannot be used: {_without(url, problem)}", remedy)
        return
    if checked.problem:
        told = f"{shown}: {checked.problem}"
        yield error(
            STORE, told, "rillflow db verify tells all; docs/backup.md tells how to restore"
        )
    else:
        yield fine(STORE, checked.looked)
    yield from clock("the store", checked.ahead_s)


def _version(shown: str, found: SchemaStatus) -> Iterator[Finding]:
    version = f"the tables of {shown} have version {found.found}"
    if found.is_current:
        yield fine(STORE, f"{version}, as this release needs")
    elif found.is_writable:
        yield fine(STORE, f"{version}, of a newer release, which lets this one go on")
    elif found.found > found.wanted:
        told = f"{version}, of a newer release: this one knows versions up to {found.wanted}"
        yield error(STORE, told, "use the release that upgraded it, or a later")
    elif found.found == 0:
        yield fine(STORE, f"{shown} has no tables yet; they are made at the first start")
    else:
        told = f"{version}, and this release needs {found.wanted}"
        if not found.keeps_writers:
            told += "; older releases cannot use it after the upgrade"
        remedy = "back it up; the next start upgrades it, or `rillflow db upgrade`"
        yield warning(STORE, told, remedy)


def _without(url: str, problem: StoreError) -> str:
    """Return the text of an error, in which the address with its password is masked."""
    return one_line(problem).replace(url, masked(url))
