"""Events of owners and calls of dispatchers cost no more than when that was last written down.

Bytecodes are counted, since processor time differs with whatever else a machine does. Who makes
one dearer on purpose says so in ``docs/decisions/processes/cost-of-calls.md``, and here.
"""

from collections.abc import Callable

import pytest

from tests.bench import counting
from tests.bench.references import apart

GROWTH = 1.05
"""Over the counts on Python 3.11; 3.12 and 3.13 carry out fewer bytecodes for the same."""


@pytest.mark.parametrize(
    ("counted", "bytecodes"),
    [
        (counting.of_foreach_item, 4_611),
        (counting.of_glue_step, 5_400),
        (counting.of_call, 2_945),
        (counting.of_waiting_call, 3_545),
    ],
)
def test_an_event_or_a_call_takes_at_most_a_twentieth_more_bytecodes_than_written_down(
    counted: Callable[[], float], bytecodes: int
) -> None:
    # Apart, since what tests before have compiled and cached is not compiled again.
    assert apart(counted) <= bytecodes * GROWTH


def test_the_count_is_the_same_each_time() -> None:
    first, again = counting.of_glue_step(), counting.of_glue_step()

    assert again == pytest.approx(first, rel=0.001)


def test_what_an_owner_does_for_each_event_is_counted() -> None:
    counted = {code.co_qualname for code in counting.counted("glue", counting.GLUE, executions=2)}

    assert {"Turn.set_status", "CallHandling.take", "HandlingRecord.begin"} <= counted
    assert {"AppendPlan.add", "OwnerMeters.carried_out", "ActivationCache.end_append"} <= counted


def test_what_a_dispatcher_does_for_each_call_is_counted() -> None:
    counted = {code.co_qualname for code in counting.counted_calls()}

    assert {
        "HttpGateway._limited",
        "FairSlots.enter",
        "request_head",
        "AnswerOutbox.put",
    } <= counted
