"""A call that is detached runs in a task actor, which outlives whoever has ordered it.

It is begun once while it lives, and nothing is left when nobody waits for it any more.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api, Json
from tests.cluster.processes import LOOK_S, OwnStack, kill, workers
from tests.cluster.ray_stack import (
    FUNCTIONS,
    WAIT_S,
    begun,
    calls_in,
    failure,
    flow,
    has_ended,
    ray_stack,
    run,
)

pytestmark = pytest.mark.cluster

LONG_S: Final = 20.0
LAST_BYTES: Final = 3_000
UNCLAIMED: Final = FUNCTIONS.with_name("ray_unclaimed.py")
ASKERS: Final = FUNCTIONS.with_name("ray_askers.py")


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    with ray_stack(tmp_path_factory.mktemp("ray")) as own:
        yield own


@pytest.fixture(name="api", scope="module")
def _api(own: OwnStack) -> Iterator[Api]:
    with Api(own.base_url) as api:
        yield api


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def _actors(own: OwnStack) -> list[int]:
    return workers(own.pid, "TaskActor")


def _detached(api: Api, file: Path, seconds: float = 8, **more: Json) -> str:
    given = {"file": str(file), "seconds": seconds}
    more = {"pattern": "task_async", **more}
    return api.submit(flow("ray_functions:sleeps", given, **more), given)


def _without_actors(own: OwnStack) -> None:
    """Wait until no task actor is left."""
    give_up = time.monotonic() + WAIT_S
    while left := _actors(own):
        assert time.monotonic() < give_up, f"a task actor is left: {_words_of(own, left[0])}"
        time.sleep(LOOK_S)


def _words_of(own: OwnStack, pid: int) -> str:
    """Return what Ray has last said in the process of a task actor."""
    [log] = (own.data_dir / "logs").glob(f"session_*/python-core-worker-*_{pid}.log")
    return log.read_text(encoding="utf-8", errors="replace")[-LAST_BYTES:]


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(("DispatcherActor",), marks=pytest.mark.long),
        pytest.param(("ExecutionActor",), marks=pytest.mark.long),
        ("DispatcherActor", "ExecutionActor"),
    ],
)
def test_an_asynchronous_call_goes_on_when_who_has_ordered_it_dies(
    own: OwnStack, api: Api, file: Path, victims: tuple[str, ...]
) -> None:
    execution_id = _detached(api, file)
    begun(file)
    assert len(_actors(own)) == 1
    kill(*(pid for name in victims for pid in workers(own.pid, name)))
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"data": "slept"}
    assert len(calls_in(file)) == 1
    _without_actors(own)


@pytest.mark.long
def test_a_call_of_20_s_is_begun_once_although_the_whole_stack_dies_around_it(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, seconds=LONG_S)
    begun_s = time.monotonic()
    [pid] = begun(file)
    for number, name in enumerate(("ServeReplica", "DispatcherActor", "ExecutionActor"), start=1):
        time.sleep(max(0.0, begun_s + number / 4 * LONG_S - time.monotonic()))
        kill(*workers(own.pid, name))
    own.wait_until_ready()
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"data": "slept"}
    assert calls_in(file) == [pid]
    _without_actors(own)


@pytest.mark.long
def test_a_call_of_20_s_whose_own_process_is_killed_is_begun_twice(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, seconds=LONG_S)
    [pid] = begun(file)
    time.sleep(LONG_S / 2)
    kill(pid)
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"data": "slept"}
    assert len(calls_in(file)) == 2
    assert len(ended.task("call")["invoke_msg"]["invoke_time_infos"]) == 1
    _without_actors(own)


def test_progress_goes_on_when_who_has_ordered_it_dies(own: OwnStack, api: Api) -> None:
    given = {"frames": 240}
    execution_id = api.submit(flow("film:render", given, pattern="task_async"), given)

    def progress() -> float:
        shown = api.ask("GET", "/flow/get.json", execution_id=execution_id).body["ret"]
        return float(shown["tasks"]["call"].get("progress", {}).get("fraction", 0))

    give_up, before = time.monotonic() + WAIT_S, 0.0
    while not (before := progress()):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    kill(*(pid for name in ("DispatcherActor", "ExecutionActor") for pid in workers(own.pid, name)))
    assert progress() >= before
    while (now := progress()) <= before + 0.1:
        assert time.monotonic() < give_up, now
        time.sleep(LOOK_S)
    assert api.end(execution_id, WAIT_S).context["output"] == {"frames": 240}


def test_a_synchronous_call_goes_on_too_if_its_options_say_so(
    own: OwnStack, api: Api, file: Path
) -> None:
    options = {"detached": True, "num_cpus": 0.5}
    execution_id = _detached(api, file, pattern="task_sync", rayOptions=options)
    begun(file)
    kill(*workers(own.pid, "DispatcherActor"))
    assert api.end(execution_id, WAIT_S).status == "SUCCEED"
    assert len(calls_in(file)) == 1


def test_an_asynchronous_call_whose_options_say_so_has_no_actor(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, seconds=2, rayOptions={"detached": False})
    begun(file)
    assert not _actors(own)
    assert api.end(execution_id, WAIT_S).status == "SUCCEED"


def test_a_task_actor_that_is_killed_is_a_system_failure_and_is_begun_again(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, seconds=6)
    begun(file)
    kill(*_actors(own))
    ended = api.end(execution_id, WAIT_S)
    assert ended.context["output"] == {"data": "slept"}
    assert len(calls_in(file)) == 2
    assert len(ended.task("call")["invoke_msg"]["invoke_time_infos"]) == 1


def test_a_task_actor_that_dies_for_good_is_told_as_a_system_failure(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, rayOptions={"max_system_retries": 0})
    begun(file)
    kill(*_actors(own))
    told = failure(api.end(execution_id, WAIT_S))["msg"]
    assert told.startswith("system failure: the process or node of the actor was lost: ")


def test_a_cancellation_ends_a_task_actor(own: OwnStack, api: Api, file: Path) -> None:
    execution_id = _detached(api, file, seconds=600)
    begun(file)
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    _without_actors(own)
    assert len(calls_in(file)) == 1


@pytest.mark.long
def test_a_cancellation_while_its_dispatcher_is_dead_ends_a_task_actor(
    own: OwnStack, api: Api, file: Path
) -> None:
    execution_id = _detached(api, file, seconds=600)
    begun(file)
    kill(*workers(own.pid, "DispatcherActor"))
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    _without_actors(own)
    assert len(calls_in(file)) == 1


def test_a_task_actor_that_two_calls_wait_for_ends_with_the_last_of_them(
    own: OwnStack, file: Path
) -> None:
    _script(own, ASKERS, str(file))
    assert len(calls_in(file)) == 1
    _without_actors(own)


def test_the_end_of_its_time_ends_a_task_actor(own: OwnStack, api: Api, file: Path) -> None:
    run(api, "nothing")
    execution_id = _detached(api, file, seconds=60, timeline={"timeoutInSeconds": 4})
    assert failure(api.end(execution_id, WAIT_S))["msg"] == "timeout"
    _without_actors(own)


def test_a_large_outcome_comes_from_a_task_actor(own: OwnStack, api: Api) -> None:
    ended = run(api, "large", {"count": 1_000_000}, pattern="task_async")
    assert ended.context["output"] == {"data": "x" * 1_000_000}
    _without_actors(own)


def test_a_task_actor_that_nobody_asks_for_ends_and_is_begun_once(
    own: OwnStack, file: Path
) -> None:
    _script(own, UNCLAIMED, str(file))
    assert len(calls_in(file)) == 1
    _without_actors(own)


def _script(own: OwnStack, script: Path, file: str) -> None:
    """Run a driver on the Ray of the stack."""
    ended = subprocess.run(
        [sys.executable, str(script), own.ray_address, str(FUNCTIONS.parent), file],
        env=own.ray_environment,
        timeout=WAIT_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_a_call_that_was_cancelled_as_its_owner_died_is_ended_by_the_next_one(
    own: OwnStack, api: Api, file: Path, pattern: str
) -> None:
    given = {"file": str(file), "seconds": 600}
    execution_id = api.submit(flow("ray_functions:sleeps", given, pattern=pattern), given)
    [pid] = begun(file)
    before = workers(own.pid, "ExecutionActor")
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    kill(*before)
    assert api.end(execution_id, WAIT_S).status == "FAILED"
    if pattern == "task_sync":
        has_ended(pid, "ray_functions:sleeps")
    _without_actors(own)
    assert len(calls_in(file)) == 1
