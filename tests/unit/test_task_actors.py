"""A task actor begins its function once somebody asks for the outcome, and only once."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from ray.exceptions import GetTimeoutError

from rillflow.jsontypes import encode_json
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.task_actors import FIRST_QUESTION_S, LOOKS, Report, TaskActor, found
from rillflow.ray_tasks.tasks import Result
from rillflow.ray_tasks.worker import FunctionCall

MODULE: Final = "function_of_a_task_actor"
TEXT: Final = """
import time
from pathlib import Path


def note(file):
    with Path(file).open("a") as lines:
        lines.write("called ")


def reports(file):
    yield 0.25, "a quarter"
    while not Path(file).exists():
        time.sleep(0.01)
"""


@pytest.fixture(name="call")
def _call(tmp_path: Path) -> Iterator[FunctionCall]:
    (tmp_path / f"{MODULE}.py").write_text(TEXT, encoding="ascii")
    before = list(sys.path)
    fields = encode_json({"file": str(tmp_path / "calls")})
    yield FunctionCall(FunctionTarget(MODULE, "note"), fields, (MODULE,), (str(tmp_path),), 100)
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


def _noted_by(note: Callable[[bool], None]) -> Any:
    """Return what notes, in place of the end of this process, whether Ray is to end it."""

    def leave(*, by_ray: bool) -> None:
        note(by_ray)

    return leave


async def test_a_function_begins_with_the_first_question(
    call: FunctionCall, tmp_path: Path
) -> None:
    actor = TaskActor(call, 3_600.0)
    file = tmp_path / "calls"
    await asyncio.sleep(0)
    assert actor._function is None
    assert not file.exists()
    answers = await asyncio.gather(actor.outcome("one"), actor.outcome("one"))
    assert [each.body for each in answers if isinstance(each, Result)] == [b"{}", b"{}"]
    assert file.read_text(encoding="ascii") == "called "


async def test_one_that_is_not_asked_soon_leaves_before_it_has_begun(call: FunctionCall) -> None:
    by_ray: asyncio.Queue[bool] = asyncio.Queue()
    actor = TaskActor(call, 3_600.0, 0.05, _noted_by(by_ray.put_nowait))
    assert await by_ray.get() is False
    assert actor._function is None


async def test_one_that_nobody_has_asked_for_long_leaves(call: FunctionCall) -> None:
    by_ray: asyncio.Queue[bool] = asyncio.Queue()
    actor = TaskActor(call, 0.05, 0.05, _noted_by(by_ray.put_nowait))
    await actor.outcome("one")
    assert await by_ray.get() is True


async def test_one_that_was_asked_in_time_stays_for_who_asks_later(call: FunctionCall) -> None:
    actor = TaskActor(call, 3_600.0)
    assert actor._left_s() <= FIRST_QUESTION_S
    await actor.outcome("one")
    assert FIRST_QUESTION_S < actor._left_s() <= 3_600.0


async def test_one_that_ray_does_not_tell_of_in_time_is_looked_for_again() -> None:
    answers: list[Any] = [GetTimeoutError("too busy"), "the actor"]

    def look() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await found(look, 0.01) == "the actor"
    answers += [ValueError("there is none"), "another"]
    with pytest.raises(ValueError, match="there is none"):
        await found(look, 0.01)
    answers[:] = [GetTimeoutError("too busy")] * (LOOKS + 1)
    with pytest.raises(GetTimeoutError):
        await found(look, 0.01)
    assert len(answers) == 1


async def test_a_question_that_is_cancelled_counts_no_longer(call: FunctionCall) -> None:
    actor = TaskActor(call, 3_600.0)
    question = asyncio.create_task(actor.outcome("one"))
    await asyncio.sleep(0)
    question.cancel()
    await asyncio.wait({question})
    assert actor._questions == 0
    await actor.outcome("one")


async def test_a_task_actor_knows_whether_others_still_ask(call: FunctionCall) -> None:
    left: list[bool] = []
    actor = TaskActor(call, 3_600.0, leave=_noted_by(left.append))
    await actor.outcome("one")
    assert not await actor.has_other_askers("one")
    await actor.outcome("one")
    await actor.outcome("two")
    assert await actor.has_other_askers("one")
    actor._leave_unasked()
    assert left == []
    assert not await actor.has_other_askers("two")
    actor._leave_unasked()
    assert left == [False], "Ray was told to end it, and has not"


async def test_one_that_is_asked_again_after_nobody_did_stays(call: FunctionCall) -> None:
    left: list[bool] = []
    actor = TaskActor(call, 3_600.0, leave=_noted_by(left.append))
    await actor.outcome("one")
    assert not await actor.has_other_askers("one")
    await actor.outcome("two")
    actor._leave_unasked()
    assert left == []


async def test_a_question_is_answered_with_progress_that_was_not_heard(
    call: FunctionCall, tmp_path: Path
) -> None:
    call = call._replace(target=FunctionTarget(MODULE, "reports"))
    actor = TaskActor(call, 3_600.0)
    assert await actor.outcome("one") == Report(1, 0.25, "a quarter")
    assert await actor.outcome("two") == Report(1, 0.25, "a quarter")
    waits = asyncio.create_task(actor.outcome("one", heard=1))
    await asyncio.sleep(0)
    assert not waits.done()
    (tmp_path / "calls").touch()
    ended = await waits
    assert isinstance(ended, Result)
    assert await actor.outcome("two") == ended
