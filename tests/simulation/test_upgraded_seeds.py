"""Whatever fails while a deployment moves to the release before or after, and back: all is kept.

Each seed is a world of its own, as in `test_changing_seeds.py`. What a release does not know of
messages, records and snapshots is not there for its processes.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from rillflow.core.encoding import codec
from rillflow.core.events import CancelRequested
from rillflow.core.state import ExecutionState
from rillflow.errors import DefectError
from rillflow.ports.executions import Delivery
from rillflow.ports.messages import Calls, decode_owner_message, encode_message
from tests.simulation.releases import (
    BEFORE,
    NEW_FIELD,
    NEW_VALUE,
    NEXT,
    NOW,
    PAIRS,
    Release,
    release_knowing,
)
from tests.simulation.upgraded_world import ALL_FROM, simulate_changing
from tests.unit.wire_schema import Schema, schema

SEEDS: Final = 400
IN_ONE_TEST: Final = 20
AT_EVERY_RUN: Final = 20
CANCEL: Final = CancelRequested(at_ms=1, parent=None, by="ann")
DELIVERY: Final = Delivery(execution_id="w:f_c_1", event=CANCEL, hint_s=3)
MESSAGE: Final = encode_message(Calls([DELIVERY], waits=False))
STATE: Final = ExecutionState(execution_id="w:f_c_1", definition_id="d", host="h", paused_by="ann")


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _firsts() -> Iterator[Any]:
    for first in range(ALL_FROM, ALL_FROM + SEEDS, IN_ONE_TEST):
        marks = () if first < ALL_FROM + AT_EVERY_RUN else (pytest.mark.long,)
        yield pytest.param(first, marks=marks)


@pytest.mark.parametrize("first", list(_firsts()))
def test_every_promise_is_kept(first: int) -> None:
    counts = Counter[str]()
    for seed in range(first, first + IN_ONE_TEST):
        finding, _ = simulate_changing(seed)
        assert finding.broken == (), f"python -m tests.simulation --changing --seed {seed}"
        counts.update(finding.counts)
    assert counts["moves"] > counts["moves given up"] > 0
    assert counts["refused strangers"] > 0


def test_a_stranger_that_is_not_refused_is_found() -> None:
    for pair in PAIRS:
        finding, _ = simulate_changing(ALL_FROM, pair, stranger=NOW)
        assert any("a process of a distant release" in each for each in finding.broken)


def test_a_release_that_misses_what_others_rely_on_is_found() -> None:
    forgetful = release_knowing(_without("DispatchAnswer None", "body"))
    seeds = range(ALL_FROM, ALL_FROM + SEEDS)
    assert any(simulate_changing(seed, (forgetful, NOW))[0].broken for seed in seeds)


def _without(kind: str, field: str) -> Schema:
    """Return what today's release knows without one field, and without those after it."""
    known = schema()
    return known | {kind: known[kind][: known[kind].index(field)]}


def _knowing_less() -> Release:
    less = _without("CancelRequested CancelRequested", "by") | _without(
        "Delivery Delivery", "hint_s"
    )
    less["CancelRequested CancelRequested"] = ["at_ms!", "parent"]
    less["ExecutionState None"] = _without("ExecutionState None", "paused_by")[
        "ExecutionState None"
    ]
    return release_knowing(less)


def test_an_earlier_release_neither_sends_nor_reads_what_it_does_not_know() -> None:
    earlier = _knowing_less()
    event = msgspec.structs.replace(CANCEL, by="")
    known = Calls([Delivery(execution_id="w:f_c_1", event=event)], waits=False)
    for message in (earlier.sent(MESSAGE), earlier.read(MESSAGE), earlier.read(NEXT.sent(MESSAGE))):
        assert len(message) < len(MESSAGE)
        assert decode_owner_message(message) == known


def test_today_reads_what_the_next_release_sends_and_writes() -> None:
    message = NEXT.sent(MESSAGE)
    assert message.count(NEW_VALUE.encode()) == 3  # the message, the call and its event
    assert decode_owner_message(message) == Calls([DELIVERY], waits=False)
    snapshot = NEXT.snapshot(codec.encode_state(STATE))
    assert NEW_FIELD.encode() in snapshot
    assert codec.decode_state(snapshot) == STATE


@pytest.mark.parametrize("encode", [codec.encode_state, codec.encode_large_state])
def test_an_earlier_release_writes_snapshots_without_what_it_does_not_know(encode: Any) -> None:
    snapshot = encode(msgspec.structs.replace(STATE, context={"a": ["x" * 90_000] * 3}))
    assert b"paused_by" in snapshot
    written = _knowing_less().snapshot(snapshot)
    assert b"paused_by" not in written
    state = codec.decode_state(written)
    assert (state.paused_by, state.context) == ("", {"a": ["x" * 90_000] * 3})


def test_some_of_the_seeds_before_move_too() -> None:
    counts = [simulate_changing(seed)[0].counts for seed in range(900_000, 900_004)]
    assert ["refused strangers" in each for each in counts] == [False, True, False, True]


def test_what_an_earlier_release_cannot_count_is_not_compared() -> None:
    with_outputs = msgspec.structs.replace(STATE, outputs_bytes=38, made_bytes=1)
    without = msgspec.structs.replace(STATE, made_bytes=1)
    known = [BEFORE.known(codec.encode_state(each)) for each in (with_outputs, without, STATE)]
    assert known[0] == known[1] != known[2]


def test_an_earlier_release_knows_no_new_kind_of_message() -> None:
    earlier = release_knowing({})
    with pytest.raises(DefectError, match="knows no Calls"):
        earlier.read(MESSAGE)
