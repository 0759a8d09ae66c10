"""A task actor begins its function once somebody asks for the outcome, and only once."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.jsontypes import encode_json
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.task_actors import Report, TaskActor
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


async def test_a_question_that_is_cancelled_counts_no_longer(call: FunctionCall) -> None:
    actor = TaskActor(call, 3_600.0)
    question = asyncio.create_task(actor.outcome("one"))
    await asyncio.sleep(0)
    question.cancel()
    await asyncio.wait({question})
    assert actor._questions == 0
    await actor.outcome("one")


async def test_a_task_actor_knows_whether_others_still_ask(call: FunctionCall) -> None:
    actor = TaskActor(call, 3_600.0)
    await actor.outcome("one")
    assert not await actor.has_other_askers("one")
    await actor.outcome("one")
    await actor.outcome("two")
    assert await actor.has_other_askers("one")
    assert not await actor.has_other_askers("two")


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
