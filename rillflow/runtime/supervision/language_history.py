"""The language versions by which executions of a store were submitted, and since when.

An execution keeps the rules of the release that it was submitted to, which an earlier release does
not know (`rillflow/language/versions.py`). The wanted state of a store therefore says when a
release with each version was first deployed there, so that an earlier one is refused while an
execution of a later version has not ended.

A check of a deployment file imports this module by its name, from the code that is to be deployed.

Used by `runtime/supervision/deployed.py`.
"""

from collections.abc import Sequence
from typing import Final

from rillflow.core.status import UNFINISHED
from rillflow.language.versions import CURRENT
from rillflow.ports.storage.store import ExecutionFilter, Store

UNRECORDED: Final = 10
"""Releases that recorded no version had at most this one."""


def with_language(
    known: Sequence[tuple[int, int]], language: int, at_ms: int
) -> tuple[tuple[int, int], ...]:
    """Return the versions of a store after a release of a version was deployed there.

    Args:
        known: Versions, and the times in ms since which they may have been used, both ascending.
        language: That of the release.
        at_ms: The time of its deployment.
    """
    kept = [each for each in known or [(UNRECORDED, 0)] if each[0] <= language]
    if not kept or kept[-1][0] < language:
        kept.append((language, at_ms))
    return tuple(kept)


def later_since_ms(known: Sequence[tuple[int, int]], language: int) -> int | None:
    """Return since when executions may be of a later version than this; None if none are."""
    return min((since_ms for version, since_ms in known if version > language), default=None)


async def earlier_language(store: Store) -> str:
    """Say why this release may not run on a store; nothing if it knows the rules of all executions.

    Raises:
        StoreError: The store cannot be read.
    """
    stored = await store.deployment()
    known = () if stored is None else stored.languages
    since_ms = later_since_ms(known, CURRENT)
    if since_ms is None:
        return ""
    asked = ExecutionFilter(statuses=UNFINISHED, from_ms=since_ms)
    unfinished = sum((await store.count_executions(asked)).values())
    if not unfinished:
        return ""
    return (
        f"this code knows language versions up to {CURRENT}, and {unfinished} executions that have"
        f" not ended may have version {known[-1][0]}, whose rules it does not know: keep the later"
        " release, or deploy it again, let nothing more be submitted, and go back once they have"
        " ended or are cancelled"
    )
