"""Calls with ``rayOptions.batch`` that wait at the same time go out together, and no others."""

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from ray.exceptions import WorkerCrashedError

from rillflow.errors import GatewayError
from rillflow.jsontypes import encode_json
from rillflow.ray_tasks.options import CallOptions, call_options
from rillflow.ray_tasks.sharing import batches
from rillflow.ray_tasks.sharing.batches import Batches
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.tasks import Result
from rillflow.ray_tasks.worker import BatchCall, FunctionCall
from tests.loopback import attempt

OPTIONS = call_options(b'{"batch":3}')


class Workers:
    """Starts batches that end when a test says so."""

    def __init__(self) -> None:
        self.started: list[list[bytes]] = []
        self.workspaces: list[str] = []
        self.ended: list[Any] = []
        self.references: list[asyncio.Future[Any]] = []
        self.refusal: Exception | None = None
        self._changed = asyncio.Event()

    async def begun(self, count: int) -> None:
        """Wait until so many batches have been started."""
        while len(self.started) < count:
            self._changed.clear()
            await self._changed.wait()

    async def start_batch(self, batch: BatchCall, options: CallOptions, workspace: str) -> Any:
        assert options.batch
        self.workspaces.append(workspace)
        if self.refusal is not None:
            raise self.refusal
        self.started.append(list(batch.inputs))
        self.references.append(asyncio.get_running_loop().create_future())
        self._changed.set()
        return self.references[-1]

    def end(self, reference: Any) -> None:
        self.ended.append(reference)

    def finish(self, place: int) -> None:
        self.references[place].set_result(
            [Result(text.upper(), None, len(text), None) for text in self.started[place]]
        )

    @property
    def sizes(self) -> list[int]:
        return [len(one) for one in self.started]


def result(
    collected: Batches,
    fields: bytes,
    *,
    flow: str = "a:f",
    function: str = "many",
    options: CallOptions = OPTIONS,
) -> "asyncio.Task[Result]":
    call = FunctionCall(FunctionTarget("module", function), fields, ("module",), (), 1000)
    execution_id = f"{flow}_c_01890a5d-ac96-774b-bcce-b302099a8057"
    request = attempt("ray://module:many", execution_id=execution_id)
    return asyncio.create_task(collected.result(request, call, options))


def made() -> tuple[Batches, Workers]:
    workers = Workers()
    return Batches(workers, lambda *_: nullcontext()), workers


async def turns() -> None:
    """Let everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_calls_of_the_same_moment_go_out_together() -> None:
    collected, workers = made()
    calls = [result(collected, text) for text in (b"a", b"b")]
    await workers.begun(1)
    assert workers.started == [[b"a", b"b"]]
    assert workers.workspaces == ["a"], "by which large inputs take turns"
    workers.finish(0)
    assert [one.body for one in await asyncio.gather(*calls)] == [b"A", b"B"]


async def test_a_full_batch_goes_out_at_once_and_the_rest_when_one_has_ended() -> None:
    collected, workers = made()
    calls = [result(collected, b"%d" % number) for number in range(8)]
    await workers.begun(2)
    assert workers.sizes == [3, 3]
    workers.finish(0)
    await turns()
    assert workers.sizes == [3, 3]
    workers.finish(1)
    await workers.begun(3)
    assert workers.sizes == [3, 3, 2]
    workers.finish(2)
    assert [one.body for one in await asyncio.gather(*calls)] == [b"%d" % n for n in range(8)]


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    collected, workers = made()
    first = result(collected, b"a")
    await workers.begun(1)
    later = [result(collected, text) for text in (b"b", b"c")]
    await turns()
    assert workers.started == [[b"a"]]
    workers.finish(0)
    await workers.begun(2)
    assert workers.started == [[b"a"], [b"b", b"c"]]
    workers.finish(1)
    assert len(await asyncio.gather(first, *later)) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"flow": "a:g"},
        {"flow": "b:f"},
        {"function": "others"},
        {"options": call_options(b'{"batch":3,"num_cpus":2}')},
    ],
)
async def test_calls_that_differ_go_out_apart(other: dict[str, Any]) -> None:
    collected, workers = made()
    calls = [result(collected, b"a"), result(collected, b"b", **other)]
    await workers.begun(2)
    assert sorted(workers.started) == [[b"a"], [b"b"]]
    for place in (0, 1):
        workers.finish(place)
    await asyncio.gather(*calls)


async def test_a_batch_of_many_bytes_is_full() -> None:
    collected, workers = made()
    large = encode_json("x" * (batches.LARGEST_BYTES // 2))
    calls = [result(collected, large) for _ in range(2)]
    await workers.begun(1)
    assert workers.sizes == [2]
    workers.finish(0)
    await asyncio.gather(*calls)


async def test_a_batch_goes_on_until_nobody_waits_for_it() -> None:
    collected, workers = made()
    calls = [result(collected, text) for text in (b"a", b"b")]
    await workers.begun(1)
    calls[0].cancel()
    await turns()
    assert not workers.ended
    calls[1].cancel()
    await turns()
    assert workers.ended == workers.references


async def test_who_leaves_before_the_batch_goes_out_is_not_called() -> None:
    collected, workers = made()
    calls = [result(collected, text) for text in (b"a", b"b")]
    await asyncio.sleep(0)
    calls[0].cancel()
    await workers.begun(1)
    assert workers.started == [[b"b"]]
    calls[1].cancel()
    await turns()
    alone = result(collected, b"c")
    await asyncio.sleep(0)
    alone.cancel()
    after = result(collected, b"d", flow="a:later")
    await workers.begun(2)
    assert workers.started == [[b"b"], [b"d"]]
    after.cancel()


async def test_a_batch_that_is_lost_is_lost_for_each() -> None:
    collected, workers = made()
    calls = [result(collected, text) for text in (b"a", b"b")]
    await workers.begun(1)
    workers.references[0].set_exception(WorkerCrashedError())
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in ended] == [WorkerCrashedError] * 2
    after = result(collected, b"c")
    await workers.begun(2)
    workers.finish(1)
    assert (await after).body == b"C"


async def test_options_that_ray_refuses_fail_each() -> None:
    collected, workers = made()
    workers.refusal = ValueError("no such resource")
    calls = [result(collected, text) for text in (b"a", b"b")]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(one) for one in ended] == ["Ray refuses the rayOptions: no such resource"] * 2
    assert all(isinstance(one, GatewayError) for one in ended)


async def test_closing_waits_for_what_is_under_way() -> None:
    collected, workers = made()
    call = result(collected, b"a")
    await workers.begun(1)
    closing = asyncio.create_task(collected.close())
    await turns()
    assert not closing.done()
    workers.finish(0)
    await asyncio.gather(call, closing)
