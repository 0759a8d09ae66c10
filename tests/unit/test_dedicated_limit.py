"""Only so many dedicated executions run at once, since each of them has a process."""

from typing import cast

import pytest

from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.executions import Reply, Submission, encode_replies
from rillflow.runtime.routing.dedicated_limit import START_S, DedicatedLimit
from rillflow.runtime.routing.router import DedicatedOwners, ExecutionRouter, OwnerRef
from tests.loopback import ManualClock
from tests.submissions import submission_event


class Actors:
    """Actors that run."""

    def __init__(self, most: int) -> None:
        self.living: set[str] = set()
        self.clock = ManualClock()
        self.limit = DedicatedLimit(most, self._names, self.clock)

    async def _names(self) -> set[str]:
        return set(self.living)

    async def is_admitted(self, name: str) -> bool:
        try:
            await self.limit.admit(name)
        except OverloadedError:
            return False
        return True


async def test_one_more_is_refused_until_another_has_left() -> None:
    actors = Actors(2)
    actors.living = {"a", "b"}
    with pytest.raises(OverloadedError, match="isolation=shared") as refused:
        await actors.limit.admit("c")
    assert refused.value.http_status == 429
    actors.living = {"b"}
    assert await actors.is_admitted("c")
    assert not await actors.is_admitted("d")


async def test_those_that_are_admitted_count_before_they_are_listed() -> None:
    actors = Actors(2)
    assert [await actors.is_admitted(name) for name in "abc"] == [True, True, False]
    actors.living = {"a", "b"}
    assert not await actors.is_admitted("c")
    actors.living = set()
    assert [await actors.is_admitted(name) for name in "cde"] == [True, True, False]
    actors.clock.forward(START_S + 1)
    assert await actors.is_admitted("e")


@pytest.mark.parametrize("is_listed", [False, True])
async def test_a_submission_that_comes_again_is_admitted_again(*, is_listed: bool) -> None:
    actors = Actors(1)
    assert await actors.is_admitted("a")
    actors.living = {"a"} if is_listed else set()
    assert await actors.is_admitted("a")


async def accepts(_: bytes) -> bytes:
    return encode_replies([Reply()])


def submission(*, dedicated: bool) -> Submission:
    execution_id = new_execution_id("demo", "flow", at_ms=1, entropy=bytes(10), dedicated=dedicated)
    return Submission(business="demo", feature="flow", event=submission_event(execution_id))


async def test_only_submissions_of_dedicated_executions_need_to_be_admitted() -> None:
    asked: list[ExecutionId] = []

    async def admit(execution_id: ExecutionId) -> None:
        asked.append(execution_id)
        raise OverloadedError("too many")

    nobody = cast("DedicatedOwners", None)
    routes = ExecutionRouter([OwnerRef(accepts, watcher="me")], nobody, admit=admit)
    assert (await routes.call(submission(dedicated=False))).error is None
    assert not asked
    refused = submission(dedicated=True)
    with pytest.raises(OverloadedError):
        await routes.call(refused)
    with pytest.raises(OverloadedError):
        await routes.run(refused, 1.0, "")
    assert asked == [refused.execution_id] * 2
