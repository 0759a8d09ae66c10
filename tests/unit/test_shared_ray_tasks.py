"""Calls of a quick Ray function share Ray tasks, one after the other; each has its own end.

The workers here are sockets that the tests hold, so that each step has its order.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest
from ray.exceptions import WorkerCrashedError

from rillflow.errors import GatewayError
from rillflow.ray_tasks.call_feed import MOST_BYTES, Feed
from rillflow.ray_tasks.options import call_options
from rillflow.ray_tasks.sharing.shared_tasks import MOST_FRESH, Limits
from rillflow.ray_tasks.tasks import CallOutcome, Result
from rillflow.ray_tasks.worker import Done
from tests.ray_stage import NEVER_S, OTHER, WAIT_S, Stage, nodes, small_cluster, stage


async def test_a_ray_task_takes_the_calls_that_wait_in_their_order(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(*range(2, 12))
        assert scene.begun() == [1, 2, 3]
        worker = scene.worker(2)
        assert [await worker.ends_call(b'{"of":%d}' % n) for n in (3, 4, 6)] == [4, 6, 7]
        assert [await scene.body(n) for n in (3, 4, 6)] == [b'{"of":3}', b'{"of":4}', b'{"of":6}']
        # What the next one would be was started meanwhile: no more than so many wait in Ray.
        assert scene.begun() == [1, 2, 3, 5]


async def test_a_ray_task_ends_when_no_call_waits(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4)
        worker = scene.worker(2)
        assert await worker.ends_call() == 4
        assert await worker.ends_call(b'{"of":4}') is None
        assert await scene.body(4) == b'{"of":4}'


async def test_a_ray_task_takes_calls_of_another_workspace_that_has_room(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3)
        await scene.begin(4, 5, caller=OTHER)
        assert scene.begun() == [1, 2, 3]
        worker = scene.worker(2)
        assert await worker.ends_call() == 4
        assert await worker.ends_call() is None, "call 5 was started meanwhile"


async def test_a_workspace_keeps_the_place_of_its_ray_task_while_another_has_no_room(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as scene:
        scene.queue.learn(nodes(2))
        await scene.begin(2, 4, 6, caller=OTHER)
        await scene.begin(3, 5)
        assert scene.begun() == [1, 2, 3]
        worker = scene.worker(2)
        assert await worker.ends_call() == 5
        assert await worker.ends_call() is None, "calls of the other workspace wait"
        assert scene.begun() == [1, 2, 3]


async def test_calls_share_where_there_is_room_for_one_ray_task_at_a_time(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        scene.queue.learn(nodes(2))
        await scene.begin(2, caller=OTHER)
        scene.ray.started[1].returns(b"{}")
        await scene.body(2)
        await scene.begin(3, 4, 5, 6)
        assert scene.begun() == [1, 2, 3], "the other workspace has called lately"
        scene.ray.started[2].returns(b"{}")
        await scene.ray.until_started(4)
        worker = scene.worker(3)
        assert [await worker.ends_call() for _ in (4, 5, 6)] == [5, 6, None]


async def test_a_ray_task_ends_when_its_time_is_over_and_another_one_begins(tmp_path: Path) -> None:
    async with stage(tmp_path, shared_s=0.0) as scene:
        await scene.begin(*range(2, 7))
        worker = scene.worker(2)
        assert await worker.ends_call() is None
        assert scene.begun() == [1, 2, 3, 4]


async def test_calls_that_come_one_by_one_need_no_connection(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3)
        assert [bool(reference.call.feed) for reference in scene.ray.started] == [
            *(False, False, True)
        ]


async def test_calls_of_a_function_that_is_not_quick_are_ray_tasks_of_their_own(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, quick_s=1.0) as scene:
        await scene.begin(2)
        scene.ray.started[1].returns(b"{}", took_s=1.1)
        await scene.body(2)
        await scene.begin(*range(3, 20))
        assert scene.begun() == list(range(1, 20))


async def test_workers_that_end_after_some_calls_take_one_at_a_time(tmp_path: Path) -> None:
    options = call_options(b'{"max_calls":5}')
    async with stage(tmp_path) as scene:
        await scene.begin(2, options=options)
        scene.ray.started[-1].returns(b"{}")
        await scene.body(2)
        await scene.begin(*range(3, 20), options=options)
        assert scene.begun() == list(range(1, 20))
        assert not any(reference.call.feed for reference in scene.ray.started)


async def test_calls_do_not_wait_for_one_that_takes_long(tmp_path: Path) -> None:
    async with stage(tmp_path, patience_s=0.01) as scene:
        await scene.begin(*range(2, 12))
        await scene.ray.until_started(11)
        assert scene.begun() == list(range(1, 12))


async def test_a_call_that_is_cancelled_while_it_waits_never_begins(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5)
        scene.calls[4].cancel()
        await asyncio.wait({scene.calls[4]}, timeout=WAIT_S)
        assert await scene.worker(2).ends_call() == 5
        assert not scene.ray.ended


async def test_a_call_that_is_cancelled_while_it_is_made_ends_its_ray_task_and_no_other_call(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5, 6)
        worker = scene.worker(2)
        assert await worker.ends_call() == 4
        scene.calls[4].cancel()
        await asyncio.wait({scene.calls[4]}, timeout=WAIT_S)
        assert scene.ray.ended == [scene.ray.started[2]]
        # It has ended just now: it is too late to give this Ray task another call.
        assert await worker.ends_call() is None
        assert not scene.calls[6].done()


async def test_a_call_that_has_ended_is_not_what_a_late_cancellation_ends(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4)
        assert await scene.worker(2).ends_call() == 4
        scene.calls[3].cancel()
        await asyncio.wait({scene.calls[3]}, timeout=WAIT_S)
        assert not scene.ray.ended


async def test_a_worker_that_dies_fails_only_the_call_that_it_made(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5)
        assert await scene.worker(2).ends_call(b'{"of":3}') == 4
        scene.ray.started[2].returned.set_exception(WorkerCrashedError())
        with pytest.raises(WorkerCrashedError):
            await scene.body(4)
        assert await scene.body(3) == b'{"of":3}'
        assert scene.begun() == [1, 2, 3, 5]


async def test_a_result_that_comes_over_ray_ends_the_ray_task(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5)
        assert await scene.worker(2).ends_call() == 4
        large = Result(b"", None, 100_000, object())
        scene.ray.started[2].returned.set_result(large)
        assert await asyncio.wait_for(scene.calls[4], WAIT_S) is large
        assert scene.begun() == [1, 2, 3, 5]


async def test_a_ray_task_that_ends_without_an_outcome_is_a_failure_of_ray(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2)
        scene.ray.started[1].returned.set_result(b"")
        with pytest.raises(WorkerCrashedError):
            await scene.body(2)


async def test_what_ray_refuses_is_told_to_each_call_that_waited(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4)
        scene.ray.refused = ValueError("no such resource")
        scene.ray.started[2].returned.set_exception(WorkerCrashedError())
        with pytest.raises(GatewayError, match="Ray refuses the rayOptions: no such resource"):
            await scene.body(4)


async def test_a_function_with_other_options_shares_no_ray_task(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4)
        await scene.begin(5, options=call_options(b'{"num_cpus":2}'))
        assert scene.begun() == [1, 2, 3, 5]
        assert await scene.worker(2).ends_call() == 4


@pytest.mark.parametrize(
    "frame", [b"\xff\xff\xff\xff", (MOST_BYTES + 1).to_bytes(4), b"\0\0\0\4nope", b"\0\0\0\0"]
)
async def test_what_is_no_outcome_closes_its_connection_and_hinders_no_other(
    tmp_path: Path, frame: bytes
) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4)
        reader, writer = await asyncio.open_unix_connection(scene.ray.started[2].call.feed)
        writer.write(frame)
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()
        await writer.wait_closed()
        assert await scene.worker(2).ends_call() == 4


async def test_a_worker_of_another_node_returns_its_outcome(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5)
        feed = Feed(str(tmp_path / "elsewhere"))
        assert await asyncio.to_thread(feed.tell, b"") is None
        feed.close()
        scene.ray.started[2].returns(b'{"of":3}')
        assert await scene.body(3) == b'{"of":3}'
        # Its node has workers to spare: from now on Ray sees all calls.
        assert scene.begun() == [1, 2, 3, 4, 5]
        scene.ray.started[3].returns(b"{}")
        await scene.body(4)
        await scene.begin(*range(6, 30))
        assert scene.begun() == list(range(1, 30))
        assert not any(reference.call.feed for reference in scene.ray.started[3:])


async def test_without_a_socket_calls_are_ray_tasks_of_their_own() -> None:
    scene = Stage("", Limits(NEVER_S, NEVER_S, NEVER_S))
    await scene.begin(1)
    scene.ray.started[0].returns(b"{}")
    await scene.body(1)
    await scene.begin(*range(2, 20))
    assert scene.begun() == list(range(1, 20))
    await scene.close()


async def test_a_worker_that_knows_no_token_is_given_no_call_and_ends_none(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(2, 3, 4, 5)
        path = scene.ray.started[2].call.feed
        for token in (b"", b"3", b"2", bytes(16), b"x" * 16):
            stranger = Feed(path)
            told = CallOutcome(token, 3, Done(b'{"of":"a stranger"}'))
            assert await asyncio.to_thread(stranger.tell, msgspec.msgpack.encode(told)) == b""
            stranger.close()
        assert not scene.calls[3].done()
        assert await scene.worker(2).ends_call(b'{"of":3}') == 4
        assert await scene.body(3) == b'{"of":3}'


async def test_each_ray_task_has_a_token_of_its_own(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        for number in range(2, 12):
            await scene.begin(number, options=call_options(b'{"num_cpus":%d}' % (number // 2)))
        tokens = [each.call.token for each in scene.ray.started if each.call.feed]
        assert len(set(tokens)) == len(tokens) == 5
        assert {len(token) for token in tokens} == {16}


async def test_a_function_that_says_it_was_quick_and_was_not_is_not_quick(tmp_path: Path) -> None:
    async with stage(tmp_path, patience_s=0.0) as scene:
        await scene.begin(2, 3)
        await scene.begin(4)
        worker = scene.worker(2)
        if await worker.ends_call(took_s=0.0) is not None:
            await scene.begin(5, 6, 7)
            assert await worker.ends_call(took_s=0.0) is None


async def test_no_more_ray_tasks_wait_than_the_limit_however_many_calls_come(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as scene:
        await scene.begin(*range(2, 500))
        assert len(scene.begun()) == 1 + MOST_FRESH


# -- a cluster of two processors ---------------------------------------------------------------


async def test_as_many_calls_are_given_to_ray_as_fit_and_two_more() -> None:
    async with small_cluster() as scene:
        await scene.begin(*range(2_000))
        assert scene.begun() == [0, 1, 2, 3]
        scene.ray.started[1].returns(b"{}", took_s=10)
        await scene.ray.until_started(5)
        assert scene.begun() == [0, 1, 2, 3, 4]


async def test_the_next_ray_task_is_that_of_a_workspace_that_has_none() -> None:
    async with small_cluster() as scene:
        await scene.begin(*range(2_000))
        await scene.begin(3_000, 3_001, 3_002, caller=OTHER, function="another_function")
        assert scene.begun() == [0, 1, 2, 3]
        for place in range(3):
            scene.ray.started[place].returns(b"{}", took_s=10)
            await scene.body(scene.begun()[place])
        # One remains of those that came first, and the other processor is for the others.
        assert scene.begun()[4:] == [3_000]


async def test_a_ray_task_of_a_function_that_is_not_quick_takes_no_further_call(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, quick_s=1.0) as scene:
        scene.queue.learn(nodes(1))
        await scene.begin(2, 3, 4, 5)
        assert scene.begun() == [1, 2, 3]
        assert await scene.worker(2).ends_call(took_s=1.1) is None
        assert scene.begun() == [1, 2, 3, 4]


async def test_what_ray_refuses_gives_its_place_to_the_next_however_many_wait() -> None:
    async with small_cluster() as scene:
        await scene.begin(*range(3_000))
        scene.ray.refused = ValueError("no such resource")
        scene.ray.started[0].returns(b"{}")
        told = await asyncio.gather(
            *(scene.calls[number] for number in range(4, 3_000)), return_exceptions=True
        )
        assert {str(each) for each in told} == {"Ray refuses the rayOptions: no such resource"}
        assert scene.queue.usage().under_way == 3


async def test_a_call_that_is_cancelled_while_it_waits_for_a_place_never_begins() -> None:
    async with small_cluster() as scene:
        await scene.begin(*range(6))
        scene.calls[4].cancel()
        await asyncio.wait({scene.calls[4]}, timeout=WAIT_S)
        scene.ray.started[0].returns(b"{}")
        await scene.ray.until_started(5)
        assert scene.begun() == [0, 1, 2, 3, 5]
        assert not scene.ray.ended
