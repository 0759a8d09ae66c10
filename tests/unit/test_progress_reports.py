"""A function may report its progress as often as it likes; the latest leaves, at a bounded rate."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import pytest

import rillflow
from rillflow.core.events import ProgressReported
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.executions import Delivery
from rillflow.ports.messages import Calls, decode_owner_message
from rillflow.progress_reports import PAUSE_S, report_yielded, reporting_to
from rillflow.ray_tasks.progress import ProgressReports
from rillflow.runtime.dispatch.progress import ProgressDelivery
from tests.loopback import NOW_MS, StoppedClock

CALL: Final[CallId] = ("b:f_c_1", "A", 2, 0)
WAIT_S: Final = 60.0


class Sent:
    """What has left, and when."""

    def __init__(self) -> None:
        self.reports: list[tuple[float | None, str]] = []
        self.times_s: list[float] = []
        self._changed = threading.Condition()

    def __call__(self, fraction: float | None, message: str) -> None:
        with self._changed:
            self.reports.append((fraction, message))
            self.times_s.append(time.monotonic())
            self._changed.notify()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.reports) >= count, WAIT_S)


def test_the_first_report_leaves_at_once_and_then_the_latest_after_a_pause() -> None:
    sent = Sent()
    with reporting_to(sent):
        for number in range(1_000):
            rillflow.progress(number / 1_000, f"frame {number}")
        sent.wait_for(2)
    assert sent.reports == [(0.0, "frame 0"), (0.999, "frame 999")]
    assert sent.times_s[1] - sent.times_s[0] >= 0.9 * PAUSE_S


def test_nothing_leaves_after_the_end_of_the_function() -> None:
    sent, threads = Sent(), threading.active_count()
    with reporting_to(sent):
        rillflow.progress(0.1)
        rillflow.progress(0.2)
    rillflow.progress(0.3)
    assert sent.reports == [(0.1, "")]
    give_up = time.monotonic() + WAIT_S
    while threading.active_count() > threads:
        assert time.monotonic() < give_up


def test_a_thread_that_the_function_has_started_reports_as_well() -> None:
    sent = Sent()
    with reporting_to(sent):
        thread = threading.Thread(target=rillflow.progress, args=(0.5,))
        thread.start()
        thread.join()
    assert sent.reports == [(0.5, "")]


@pytest.mark.parametrize("fraction", [40, -0.1, float("nan"), float("inf")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="the fraction of the progress is from 0 to 1, not"):
        rillflow.progress(fraction)


def test_a_message_is_cut_and_can_be_sent() -> None:
    sent = Sent()
    with reporting_to(sent):
        rillflow.progress(message="\ud800" + "x" * 1_000)
    assert sent.reports == [(None, "?" + "x" * 199)]


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        (0.5, [(0.5, "")]),
        ((0.5, "half"), [(0.5, "half")]),
        ("half", [(None, "half")]),
        ((None, "loading"), [(None, "loading")]),
        ((0, "begun"), [(0.0, "begun")]),
        ((1, "done"), [(1.0, "done")]),
        (np.float32(0.5), [(0.5, "")]),
        ((np.float32(0.5), "half"), [(0.5, "half")]),
        (1, []),
        (True, []),
        (np.int64(1), []),
        (float("nan"), []),
        ((True, "done"), []),
        ((2, "too much"), []),
        ((None, 3), []),
        (1.5, []),
        (("half", 0.5), []),
        ((0.5, "half", "more"), []),
        (None, []),
        ({"fraction": 0.5}, []),
    ],
)
def test_what_a_generator_yields_is_progress_if_it_reads_so(
    value: Any, reported: list[tuple[float | None, str]]
) -> None:
    sent = Sent()
    with reporting_to(sent):
        report_yielded(value)
    assert sent.reports == reported


async def test_a_dispatcher_passes_on_the_latest_report_of_a_call_and_none_after_its_end() -> None:
    passed: asyncio.Queue[tuple[CallId, float | None, str, str | None]] = asyncio.Queue()
    reports = ProgressReports()
    reports.deliver = lambda *report: passed.put_nowait(report)
    with reports.of(CALL) as number:
        for tenth in range(5):
            reports.take(number, tenth / 10, "")
        async with asyncio.timeout(WAIT_S):
            assert await passed.get() == (CALL, 0.4, "", None)
            began_s = time.monotonic()
            reports.take(number, 0.5, "")
            reports.take(number, 0.6, "")
            reports.take(number, None, "", "the place of the log")
            assert await passed.get() == (CALL, 0.6, "", "the place of the log")
        assert time.monotonic() - began_s >= 1.0
        reports.take(number, 0.7, "")
        reports.take(number + 1, 0.8, "of no call")
    reports.take(number, 0.9, "")
    await asyncio.sleep(0)
    assert passed.empty()


async def test_a_late_report_of_a_call_of_an_earlier_process_is_of_no_call_of_this_one() -> None:
    with ProgressReports().of(CALL) as earlier:
        pass
    passed: asyncio.Queue[tuple[CallId, float | None, str, str | None]] = asyncio.Queue()
    reports = ProgressReports()
    reports.deliver = lambda *report: passed.put_nowait(report)
    with ExitStack() as calls:
        numbers = [calls.enter_context(reports.of(CALL)) for _ in range(100)]
        for number in numbers:
            reports.take(number, 0.5, "")
        reports.take(earlier, None, "late", "the place of a log")
        async with asyncio.timeout(WAIT_S):
            found = [await passed.get() for _ in numbers]
    assert found == [(CALL, 0.5, "", None)] * len(numbers)


async def test_a_report_goes_to_the_owner_of_its_call_with_secrets_masked() -> None:
    sent: asyncio.Queue[bytes] = asyncio.Queue()

    async def connection(message: bytes) -> bytes:
        sent.put_nowait(message)
        return b""

    def connection_of(call: CallId) -> Callable[[bytes], Awaitable[bytes]] | None:
        return connection if call == CALL else None

    delivery = ProgressDelivery(connection_of, StoppedClock(), lambda text: text.upper())
    delivery.begin(("b:f_c_2", "A", 1, 0), 0.1, "", None)
    delivery.begin(CALL, 0.5, "half", "place")
    async with asyncio.timeout(WAIT_S):
        message = decode_owner_message(await sent.get())
    event = ProgressReported(
        at_ms=NOW_MS, task="A", fraction=0.5, message="HALF", attempt=2, log="place"
    )
    assert message == Calls([Delivery(execution_id="b:f_c_1", event=event)])
    assert sent.empty()
