"""Calls of Ray that no resource of a node limits wait for slots; nobody takes all of them."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.limits.call_slots import CallSlots
from rillflow.ray_tasks.options import call_options
from tests.loopback import attempt


def test_long_options_are_not_kept() -> None:
    short = b'{"num_cpus":1}'
    long = b'{"num_cpus":1,"resources":{%b}}' % b",".join(b'"r%d":1' % n for n in range(1_000))
    assert call_options(short) is call_options(short)
    assert call_options(long) == call_options(long)
    assert call_options(long) is not call_options(long)


@pytest.mark.parametrize(
    ("text", "is_small"),
    [
        (None, False),
        (b"{}", False),
        (b'{"num_cpus":0}', True),
        (b'{"num_cpus":0.0001}', True),
        (b'{"num_cpus":0.1}', False),
        (b'{"num_cpus":0,"num_gpus":1}', False),
        (b'{"num_cpus":0,"num_gpus":0.0001}', True),
        (b'{"num_cpus":0,"resources":{"slots":1}}', True),
    ],
)
def test_a_call_with_almost_no_processor_and_gpu_is_small(
    text: bytes | None, *, is_small: bool
) -> None:
    assert call_options(text).is_small is is_small


async def test_calls_of_one_target_wait_and_those_of_another_do_not() -> None:
    slots = CallSlots(each=2, total=100)
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(slots.slot("one", attempt("ray://a:b")))
        third = asyncio.create_task(_once(slots, "one", attempt("ray://a:b")))
        await asyncio.sleep(0)
        await _once(slots, "other", attempt("ray://a:b"))
        assert not third.done()
        assert [(each.host.name, each.under_way, each.waiting) for each in slots.hosts()] == [
            ("other", 0, 0),
            ("one", 2, 1),
        ]
    await asyncio.wait_for(third, 60)


async def test_a_call_that_is_cancelled_gives_its_slot_and_its_place_back() -> None:
    slots = CallSlots(each=1, total=100)
    first = asyncio.create_task(_held(slots))
    second = asyncio.create_task(_held(slots))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        await asyncio.wait({task})
    await asyncio.wait_for(_once(slots, "one", attempt("ray://a:b")), 60)
    assert (slots.usage("one").under_way, slots.usage("one").waiting) == (0, 0)


async def _once(slots: CallSlots, name: str, request: DispatchRequest) -> None:
    async with slots.slot(name, request):
        pass


async def _held(slots: CallSlots) -> None:
    async with slots.slot("one", attempt("ray://a:b")):
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("text", "max_calls"),
    [
        (None, 0),
        (b'{"num_gpus":0.5}', 1),
        (b'{"num_gpus":0.5,"max_calls":20}', 20),
        (b'{"max_calls":1}', 1),
        (b'{"max_calls":9}', 9),
        (b'{"max_calls":19}', 10),
        (b'{"max_calls":399}', 300),
        (b'{"max_calls":10000}', 10_000),
    ],
)
def test_calls_of_a_worker_are_counted_roughly_so_that_few_functions_are_kept(
    text: bytes | None, max_calls: int
) -> None:
    assert call_options(text).max_calls == max_calls
