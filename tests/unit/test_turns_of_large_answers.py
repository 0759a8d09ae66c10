"""Large answers of one workspace hold up no small ones, and none of another workspace.

A function may answer 10 MiB, packed in some kilobytes. Each time that such a text is decoded,
weighed or cut, the interpreter is held for tens of milliseconds, and many come at once.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import pytest
from msgspec.structs import replace

from rillflow.core import machine
from rillflow.core.encoding.codec import encode_event
from rillflow.core.events import DispatchAnswered
from rillflow.core.plan import Plan
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.gateways.outbound.threads import LARGE_BYTES, SHORT_BYTES, in_thread, in_turn
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.jsontypes import decode_json, encode_json, is_ahead, weight_of
from rillflow.ports.executions import Call, Delivery, Reply, text_of
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.storage.store import Append
from rillflow.runtime.activation.active_execution import ActiveExecution, Stage
from rillflow.runtime.activation.eviction_writes import EvictionWrites
from rillflow.runtime.activation.journal import JournalRows, OwnerEpoch
from rillflow.runtime.aio.large_texts import MOST_PORTIONS, PORTION_BYTES, LargeTexts
from rillflow.runtime.definitions.catalogue import parse_stored
from rillflow.runtime.dispatch.outbox import (
    LARGE_BYTES_UNDER_WAY,
    LONGEST_BATCH_BYTES,
    MOST_IDLE,
    MOST_IN_BATCH,
    MOST_LATE,
    MOST_UNDER_WAY,
    WIDE_BYTES,
    AnswerOutbox,
    Outbox,
)
from rillflow.stores.append_plan import SlimAppend
from rillflow.stores.large_values import CutAhead, slimmed
from rillflow.stores.memory.store import MemoryStore
from tests.contract.appends import follow
from tests.submissions import submission_event

LONG_S: Final = 60
LIMIT: Final = 1_000
FLOW: Final = """workspace: a
dagName: f
type: flow
tasks:
  - { name: A, category: pass }
"""


def answer_of(workspace: str, size_bytes: int, number: int = 1) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=f"{workspace}:f_c_1", task="A", attempt=number, body=b"x" * size_bytes
    )


def delivery(workspace: str, body: bytes) -> Delivery:
    event = DispatchAnswered(at_ms=1, task="A", attempt=1, body=body)
    return Delivery(execution_id=f"{workspace}:f_c_1", event=event)


def large(text: str = "x") -> bytes:
    return encode_json({"a": [text * LARGE_BYTES, {"b": 1}]})


async def test_large_answers_that_are_not_taken_hold_up_no_others() -> None:
    taken: list[tuple[str, int]] = []
    are_taken = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        [whose] = {answer.execution_id for answer in answers}
        taken.append((whose, len(answers)))
        if len({whose for whose, _ in taken}) == 3:
            are_taken.set()
        if whose.startswith("hostile"):
            await asyncio.Event().wait()

    outboxes = AnswerOutbox(take)
    for number in range(8):
        outboxes.put(answer_of("hostile", LARGE_BYTES_UNDER_WAY // 2, number))
    outboxes.put(answer_of("large", LARGE_BYTES + 1))
    outboxes.put(answer_of("small", 10))
    await asyncio.wait_for(are_taken.wait(), LONG_S)
    await outboxes.close()
    of_hostile = [whose for whose, _ in taken if whose.startswith("hostile")]
    assert len(of_hostile) == 2, "so many bytes may be under way"
    assert {count for _, count in taken} == {1}


async def test_small_answers_that_take_long_to_handle_hold_up_no_other_workspace() -> None:
    taken: list[str] = []
    other_is_taken = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        [whose] = {answer.execution_id for answer in answers}
        taken.append(whose)
        if whose.startswith("hostile"):
            await asyncio.Event().wait()
        other_is_taken.set()

    outboxes = AnswerOutbox(take)
    for number in range(MOST_IN_BATCH * (MOST_UNDER_WAY + MOST_LATE + 1)):
        outboxes.put(answer_of("hostile", 10, number))
    outboxes.put(answer_of("other", 10))
    await asyncio.wait_for(other_is_taken.wait(), LONG_S)
    assert taken.count("hostile:f_c_1") <= MOST_UNDER_WAY + MOST_LATE
    await outboxes.close()


async def test_long_answers_of_an_execution_leave_one_after_the_other() -> None:
    """Their executions are large, so its owner would read each of them again for every batch."""
    batches: list[list[tuple[ExecutionId, int]]] = []
    are_sent = asyncio.Event()
    ids = [f"w:f_c_{number}" for number in range(3)]
    length, of_each = WIDE_BYTES + 1, 2 * (LONGEST_BATCH_BYTES // WIDE_BYTES)

    async def take(answers: list[DispatchAnswer]) -> None:
        batches.append([(answer.execution_id, answer.attempt) for answer in answers])
        await asyncio.sleep(0)
        if sum(map(len, batches)) == of_each * len(ids):
            are_sent.set()

    outbox = Outbox(take)
    for number in range(of_each):
        for each in ids:
            outbox.put(replace(answer_of("w", length, number), execution_id=each))
    await asyncio.wait_for(are_sent.wait(), LONG_S)
    await outbox.close()
    needed = sum(len({each for each, _ in batch}) for batch in batches)
    assert needed <= len(batches) + len(ids), "an execution is left once its answers have gone"
    sent = [each for batch in batches for each in batch]
    for one in ids:
        numbers = [number for each, number in sent if each == one]
        assert numbers == sorted(numbers), "they keep their order"


async def test_what_is_kept_of_idle_outboxes_is_bounded() -> None:
    async def take(_: list[DispatchAnswer]) -> None:
        await asyncio.sleep(0)

    outboxes = AnswerOutbox(take)
    for number in range(3 * MOST_IDLE):
        outboxes.put(answer_of(f"w{number}", 10))
        for _ in range(5):
            await asyncio.sleep(0)
    assert len(outboxes._small) <= MOST_IDLE
    await outboxes.close()


async def test_small_calls_of_a_batch_do_not_wait_for_its_large_texts() -> None:
    gate = threading.Event()
    held = asyncio.create_task(in_turn("hostile:f_c_1", LARGE_BYTES + 1, gate.wait))
    texts = LargeTexts(MemoryStore(), lambda _: False, nothing_unread)
    taken: list[list[str]] = []
    small_is_taken = asyncio.Event()

    async def take(calls: Sequence[Call]) -> list[Reply]:
        taken.append([call.execution_id for call in calls])
        small_is_taken.set()
        return [Reply(body=call.execution_id.encode()) for call in calls]

    batch = [
        delivery("hostile", large()),
        delivery("a", b"{}"),
        delivery("hostile", b"{}"),
        delivery("b", b"{}"),
    ]
    handled = asyncio.ensure_future(texts.first(batch, take))
    try:
        await asyncio.wait_for(small_is_taken.wait(), LONG_S)
        assert taken == [["a:f_c_1", "b:f_c_1"]]
        assert not handled.done()
    finally:
        gate.set()
    await held
    replies = await asyncio.wait_for(handled, LONG_S)
    assert taken[1:] == [["hostile:f_c_1"] * 2], "those of one execution keep their order"
    assert [reply.body for reply in replies] == [each.execution_id.encode() for each in batch]


async def test_texts_of_some_kilobytes_of_one_workspace_hold_up_another_for_one_of_them() -> None:
    gate, order = threading.Event(), list[str]()

    async def done(workspace: str) -> None:
        await in_turn(f"{workspace}:f", SHORT_BYTES + 1, gate.wait)
        order.append(workspace)

    tasks = [asyncio.create_task(done(each)) for each in (*("a" for _ in range(20)), "b")]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*tasks), LONG_S)
    assert order.index("b") <= 2, "the one under way, and the next"


class SnapshotStore(MemoryStore):
    """A store that tells when a snapshot is appended."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = asyncio.Event()

    async def append(self, appends: Sequence[Append]) -> None:
        assert all(each.snapshot for each in appends)
        self.appended.set()


async def test_a_large_snapshot_is_encoded_when_it_is_the_turn_of_its_workspace() -> None:
    """Encoding it, and finding its large values, holds the interpreter as decoding does."""
    store, gate = SnapshotStore(), threading.Event()
    plan = Plan(parse_stored(FLOW), "0" * 32)
    execution_id = new_execution_id("a", "f", at_ms=1, entropy=bytes(10))
    state, _ = machine.submit(plan, submission_event(execution_id, plan.definition_id))
    execution = ActiveExecution(plan, state, Stage.NEW)
    ownership = OwnerEpoch(store, range(PARTITIONS), None)
    await store.open()
    await ownership.take()
    rows = JournalRows(ownership)
    writes = EvictionWrites(store, rows, lambda *_: None)
    held = asyncio.create_task(in_turn("hostile:f_c_1", LARGE_BYTES + 1, gate.wait))
    await asyncio.sleep(0)
    writes.write_snapshot(execution)
    await asyncio.sleep(0)
    # Whatever the threads of other works had to do is done when both are here.
    both = threading.Barrier(2)
    await asyncio.gather(*(in_thread(both.wait, workspace="") for _ in range(2)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not store.appended.is_set()
    gate.set()
    await asyncio.wait_for(store.appended.wait(), LONG_S)
    await held
    await writes.stop()


def nothing_unread(_calls: Sequence[Call]) -> set[ExecutionId]:
    return set()


async def test_what_is_refused_by_its_length_is_not_decoded() -> None:
    refused, taken = large(), large("y")
    texts = LargeTexts(MemoryStore(), lambda call: text_of(call) is refused, nothing_unread)
    weight = weight_of(taken)

    async def take(calls: Sequence[Call]) -> list[Reply]:
        assert not is_ahead(refused)
        for call in calls:
            if text_of(call) is taken:
                assert is_ahead(taken)
                assert decode_json(taken) is decode_json(taken)
                assert weight_of(taken) == weight
        return [Reply(error=call.execution_id) for call in calls]

    replies = await texts.first([delivery("a", refused), delivery("b", taken)], take)
    assert [reply.error for reply in replies] == ["a:f_c_1", "b:f_c_1"]
    assert not is_ahead(taken)


async def test_a_text_that_is_ahead_is_not_prepared_again() -> None:
    text, values = large(), list[object]()
    texts = LargeTexts(MemoryStore(), lambda _: False, nothing_unread)

    async def take(calls: Sequence[Call]) -> list[Reply]:
        values.append(decode_json(text))
        if len(values) < 2:
            return await texts.first(calls, take)
        return [Reply() for _ in calls]

    await texts.first([delivery("a", text)], take)
    assert values[0] is values[1]
    assert not is_ahead(text)


@pytest.mark.parametrize("size_bytes", [SHORT_BYTES + 1, 2 * LARGE_BYTES])
async def test_few_texts_of_a_workspace_are_decoded_at_a_time(size_bytes: int) -> None:
    bodies = [b'"%b"' % (b"%c" % (65 + n) * size_bytes) for n in range(24)]
    texts = LargeTexts(MemoryStore(), lambda _: False, nothing_unread)
    taken: list[str] = []
    most_bytes = 0

    async def take(calls: Sequence[Call]) -> list[Reply]:
        nonlocal most_bytes
        for _ in range(3):
            await asyncio.sleep(0)
            most_bytes = max(most_bytes, sum(len(text) for text in bodies if is_ahead(text)))
        taken.extend(call.execution_id for call in calls)
        return [Reply(error=call.execution_id) for call in calls]

    calls = [delivery(f"a:{number}", body) for number, body in enumerate(bodies)]
    calls = [replace(each, execution_id=f"a:f_c_{n}") for n, each in enumerate(calls)]
    async with asyncio.timeout(LONG_S):
        batches = (texts.first(calls[start : start + 6], take) for start in range(0, 24, 6))
        replies = await asyncio.gather(*batches)
    assert [each.error for some in replies for each in some] == [
        each.execution_id for each in calls
    ]
    assert sorted(taken) == sorted(each.execution_id for each in calls)
    most = MOST_PORTIONS * max(PORTION_BYTES, size_bytes + 2)
    assert size_bytes <= most_bytes <= most


async def test_texts_for_one_that_is_read_do_not_hold_up_texts_for_another() -> None:
    """What waits until an execution is read may wait for what keeps another one in memory."""
    first, second = delivery("a", large()), delivery("a", large("y"))
    second = replace(second, execution_id="a:f_c_2")
    texts = LargeTexts(MemoryStore(), lambda _: False, lambda calls: {calls[0].execution_id})
    others_taken = asyncio.Event()

    async def waits(calls: Sequence[Call]) -> list[Reply]:
        await others_taken.wait()
        return [Reply() for _ in calls]

    async def taken(calls: Sequence[Call]) -> list[Reply]:
        others_taken.set()
        return [Reply() for _ in calls]

    async with asyncio.timeout(LONG_S):
        waiting = [texts.first([first], waits) for _ in range(MOST_PORTIONS + 1)]
        await asyncio.gather(*waiting, texts.first([second], taken))


async def test_works_on_texts_of_a_workspace_leave_threads_to_others() -> None:
    gate = threading.Event()
    held = [asyncio.create_task(in_thread(gate.wait, workspace="demo")) for _ in range(9)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            assert await in_thread(lambda: "done", workspace="shop") == "done"
    finally:
        gate.set()
    assert await asyncio.gather(*held) == [True] * 9


async def test_after_work_on_large_texts_others_have_the_interpreter() -> None:
    thread = FairThread(most=9, most_of_one=9, name="tests", rest=3.0)

    def computes() -> tuple[float, float]:
        began_s, until_s = time.thread_time(), time.thread_time() + 0.02
        while time.thread_time() < until_s:
            pass
        return time.monotonic(), time.thread_time() - began_s

    works = [asyncio.ensure_future(thread.run("a", computes)) for _ in range(3)]
    ends = [await work for work in works]
    for (earlier_s, took_s), (later_s, took_too_s) in pairwise(ends):
        assert later_s - earlier_s >= 3.0 * took_s + took_too_s


# -- large values that are found ahead -----------------------------------------------------

TEXTS: Final = (
    large(),
    b"  " + large("\N{EURO SIGN}") + b"\n",
    b'{"a": {"b": ["' + b"\\u0001" * 400 + b'", 1], "c": "' + b"y" * 2_000 + b'"}}',
    b"no JSON " * 1_000,
    b"[" * 5_000,
)


def slim(text: bytes) -> SlimAppend:
    event = DispatchAnswered(at_ms=1, task="A", attempt=1, body=text)
    [append] = slimmed([follow(1, 2, encode_event(event))], LIMIT)
    assert isinstance(append, SlimAppend)
    return append


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_cut_ahead_as_it_would_be_later(text: bytes) -> None:
    later = slim(text)
    assert later.of_records
    with CutAhead([text], LIMIT):
        first, second = slim(text), slim(bytes(bytearray(text)))
    assert first == second == later
    for sha256, payload in first.of_records.items():
        assert second.of_records[sha256] is payload, "it was found once"
        assert slim(text).of_records[sha256] is not payload
    with CutAhead([text], LIMIT + 1):
        assert slim(text) == later, "what was found for another limit does not count"
