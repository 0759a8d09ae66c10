"""The language versions by which executions of a store were submitted, and since when.

An execution keeps the rules of the release that it was submitted to, which an earlier release does
not know (`rillflow/language/versions.py`). The wanted state of a store therefore says when a
release with each version was first deployed there, so that an earlier one is refused while an
execution of a later version has not ended.

Used by `actors/controller_actor.py`, `runtime/supervision/deployed.py` and
`serve/stack/cluster_control.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.core.status import UNFINISHED
from rillflow.errors import ProtocolError
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


class UnfinishedExecutions(NamedTuple):
    """Executions that have not ended, and that may have a later language version than a release.

    ``version`` is the latest that they may have.
    """

    version: int
    unfinished: int


async def later_executions(store: Store, language: int) -> UnfinishedExecutions:
    """Return what has not ended in a store that a release with this language may not know.

    Raises:
        StoreError: The store cannot be read.
    """
    stored = await store.deployment()
    known = () if stored is None else stored.languages
    since_ms = later_since_ms(known, language)
    if since_ms is None:
        return UnfinishedExecutions(language, 0)
    asked = ExecutionFilter(statuses=UNFINISHED, from_ms=since_ms)
    counts = await store.count_executions(asked)
    return UnfinishedExecutions(known[-1][0], sum(counts.values()))


def refuse_earlier_language(who: str, language: int, later: UnfinishedExecutions) -> None:
    """Refuse a release that does not know the rules of executions that have not ended.

    Args:
        who: The release, in words.
        language: Its language version.
        later: What has not ended.

    Raises:
        ProtocolError: There are some.
    """
    if not later.unfinished:
        return
    raise ProtocolError(
        f"{who} knows language versions up to {language}, and {later.unfinished} executions that"
        f" have not ended may have version {later.version}, whose rules it does not know: keep the"
        " later release, or deploy it again, let nothing more be submitted, and go back once they"
        " have ended or are cancelled"
    )
