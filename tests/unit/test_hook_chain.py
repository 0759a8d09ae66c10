"""A hook that does not call on stops what it guards; what is called on happens once.

What was stopped is as if it had never been, a replay asks nobody, and no hook changes how
a thing ends.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest

from rillflow.core import machine
from rillflow.core.events import CallbackReceived, TimerFired, WakeUpReceived
from rillflow.errors import ExecutionError, RequestError
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.executions import Call, Delivery, Query, Reply, ResourceCall
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Store
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.hooks.chain import Hook, HookChain, Moment
from rillflow.runtime.hooks.loading import load_hooks
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.loopback import NOW_MS, StoppedClock

WORK: Final = """
workspace: guards
dagName: work
type: flow
callback: { resourceName: "http://127.0.0.1:1/told" }
tasks:
  - name: do
    category: function
    pattern: task_async
    resourceName: http://127.0.0.1:1/work
"""
ABOVE: Final = """
workspace: guards
dagName: above
type: flow
tasks:
  - { name: below, category: function, pattern: flow_sync, resourceName: "rillflow://guards:work" }
"""
Proceed = Callable[[], None]


class Asked(NamedTuple):
    """A question to a hook; the execution goes by the name of its workflow."""

    moment: str
    workflow: str
    task: str


class Recorder:
    """A hook that stops a moment of the workflow ``work``, and calls on otherwise."""

    def __init__(self, stopped: Moment | None = None) -> None:
        self.stopped = stopped
        self.asked: list[Asked] = []
        self.turn = asyncio.Event()

    def __call__(self, moment: Moment, execution_id: str, task: str, proceed: Proceed) -> None:
        self.asked.append(Asked(moment, _workflow(execution_id), task))
        if not (moment is self.stopped and _workflow(execution_id) == "work"):
            proceed()
        if moment is Moment.TRAVERSAL:
            self.turn.set()


class House:
    """A host with the hooks; dispatches are kept, and answered when a test says so."""

    def __init__(self, store: Store, hooks: Sequence[Hook]) -> None:
        clock = StoppedClock()
        self.sent: asyncio.Queue[DispatchRequest] = asyncio.Queue()
        self.store = store
        self.host = ExecutionOwner(
            store=store,
            clock=clock,
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            guards=HookChain(hooks),
        )
        self._submissions = Submissions(Settings(), store=store, executions=self, clock=clock)

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        for request in requests:
            self.sent.put_nowait(request)

    async def call(self, call: Call) -> Reply:
        [reply] = await self.host.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        return [await self.call(call)]

    async def add(self, text: str) -> str:
        name = text.partition("dagName: ")[2].partition("\n")[0]
        await add_descriptor(self.store, "guards", name, "release", text, at_ms=NOW_MS)
        return f"guards:{name}"

    async def submit(self, text: str = WORK) -> ExecutionId:
        return await self._submissions.submit(await self.add(text), b"", Options())

    async def answer(self, **facts: Any) -> DispatchRequest:
        """Wait for the next dispatch, and answer it well."""
        request = await self.sent.get()
        answer = DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt, **facts
        )
        await self.host.answers_arrived([answer])
        return request

    async def call_back(self, execution_id: ExecutionId) -> Reply:
        event = CallbackReceived(at_ms=NOW_MS, task="do", succeeded=True, trigger=True)
        return await self.call(Delivery(execution_id=execution_id, event=event))

    async def statuses(self, execution_id: ExecutionId) -> tuple[str, str]:
        """Return the status of an execution, and that of its one task."""
        reply = await self.call(Query(execution_id=execution_id, kind="execution"))
        shown: dict[str, Any] = json.loads(reply.body or b"{}")
        [task] = shown["tasks"].values()
        return shown["dag_status"], task["status"]

    async def records(self, execution_id: ExecutionId) -> tuple[bytes, ...]:
        stored = await self.store.load(execution_id)
        assert stored is not None
        return stored.records


@asynccontextmanager
async def house(*hooks: Hook, store: Store | None = None) -> AsyncIterator[House]:
    store = store or open_store("memory:")
    await store.open()
    built = House(store, hooks)
    await built.host.start()
    await built.host.recovered()
    try:
        yield built
    finally:
        await built.host.stop()


def _workflow(execution_id: str) -> str:
    return execution_id.partition(":")[2].partition("_c_")[0]


def _guard(action: Proceed, *hooks: Hook) -> bool:
    return HookChain(hooks).guard(Moment.RUN, "guards:work_c_1", "work", action)


# -- the chain ------------------------------------------------------------------------


def test_without_hooks_everything_happens_and_nothing_is_in_between() -> None:
    done: list[str] = []
    assert _guard(lambda: done.append("done")) is True
    assert done == ["done"]
    assert HookChain().handling(machine.handle) is machine.handle


def test_hooks_stand_around_each_other_the_first_one_outermost() -> None:
    seen: list[str] = []

    def named(name: str) -> Hook:
        def hook(moment: Moment, execution_id: str, task: str, proceed: Proceed) -> None:
            seen.append(f"{name} {moment} {execution_id} {task}")
            proceed()
            seen.append(f"{name} again")

        return hook

    assert _guard(lambda: seen.append("done"), named("first"), named("second")) is True
    about = "run guards:work_c_1 work"
    assert seen == [f"first {about}", f"second {about}", "done", "second again", "first again"]


@pytest.mark.case("PL-01")
def test_a_hook_that_does_not_call_on_stops_the_action_and_the_hooks_behind_it() -> None:
    done: list[str] = []
    behind = Recorder()
    assert _guard(lambda: done.append("done"), Recorder(Moment.RUN), behind) is False
    assert (done, behind.asked) == ([], [])


@pytest.mark.case("PL-01")
def test_what_is_called_on_twice_happens_once() -> None:
    done: list[str] = []
    behind = Recorder()

    def twice(_: Moment, __: str, ___: str, proceed: Proceed) -> None:
        proceed()
        proceed()

    assert _guard(lambda: done.append("done"), twice, behind, twice) is True
    assert (done, len(behind.asked)) == (["done"], 1)


def test_calling_on_after_the_return_comes_too_late() -> None:
    done: list[str] = []
    kept: list[Proceed] = []
    assert _guard(lambda: done.append("done"), lambda *about: kept.append(about[-1])) is False
    kept[0]()
    assert done == []


@pytest.mark.parametrize("calls_on", [True, False])
def test_a_hook_that_raises_does_no_more_harm_than_not_calling_on(
    caplog: pytest.LogCaptureFixture, *, calls_on: bool
) -> None:
    done: list[str] = []

    def broken(_: Moment, __: str, ___: str, proceed: Proceed) -> None:
        if calls_on:
            proceed()
        raise ValueError("broken hook")

    with caplog.at_level(logging.ERROR):
        assert _guard(lambda: done.append("done"), broken) is calls_on
    assert done == ["done"] * calls_on
    assert [record.getMessage() for record in caplog.records] == ["hook_failed"]


def test_what_the_action_raises_passes_the_hooks_by() -> None:
    def fail() -> None:
        raise RequestError("refused")

    seen = Recorder()
    with pytest.raises(RequestError, match="refused"):
        _guard(fail, seen)
    assert len(seen.asked) == 1


# -- around an execution --------------------------------------------------------------


@pytest.mark.case("PL-01")
async def test_every_moment_of_an_execution_is_asked_about_once() -> None:
    hook = Recorder()
    async with house(hook) as built:
        execution_id = await built.submit()
        calls = [await built.answer()]
        assert (await built.call_back(execution_id)).changed is True
        calls.append(await built.answer())
        await built.host.settled(execution_id)
        assert await built.statuses(execution_id) == ("SUCCEED", "SUCCEEDED")
    assert [(asked.moment, asked.task) for asked in hook.asked] == [
        ("run", "do"),
        *[("notify", "do"), ("traversal", "do")] * 2,
        ("finish", ""),
    ]
    assert [request.resource_name[-4:] for request in calls] == ["work", "told"]


@pytest.mark.case("PL-01")
@pytest.mark.parametrize("moment", [Moment.NOTIFY, Moment.TRAVERSAL])
async def test_an_event_that_is_stopped_changes_nothing(moment: Moment) -> None:
    hook = Recorder(moment)
    async with house(hook) as built:
        execution_id = await built.submit()
        before = await built.records(execution_id)
        assert (await built.call_back(execution_id)).changed is False
        assert await built.statuses(execution_id) == ("RUNNING", "RUNNING")
        assert await built.records(execution_id) == before
        assert (Moment.TRAVERSAL, "work", "do") in hook.asked or moment is Moment.NOTIFY
        hook.stopped = None
        await built.answer()
        assert (await built.call_back(execution_id)).changed is True
        assert (await built.statuses(execution_id))[1] == "SUCCEEDED"


@pytest.mark.case("PL-01")
async def test_a_dispatch_that_is_stopped_leaves_its_task_waiting_for_a_callback() -> None:
    store, hook = open_store("memory:"), Recorder(Moment.RUN)
    async with house(hook, store=store) as built:
        execution_id = await built.submit()
        await hook.turn.wait()
        assert await built.statuses(execution_id) == ("RUNNING", "RUNNING")
        assert built.sent.empty()
    async with house(store=store) as later:
        await later.call_back(execution_id)
        assert (await later.statuses(execution_id))[1] == "SUCCEEDED"
        assert (await later.answer()).resource_name.endswith("/told")


@pytest.mark.case("PL-01")
@pytest.mark.parametrize(
    "mode", ["pattern: task_sync", "pattern: task_async\n    completion: poll"]
)
async def test_a_dispatch_without_a_callback_that_is_stopped_has_no_outcome(mode: str) -> None:
    hook = Recorder(Moment.RUN)
    async with house(hook) as built:
        execution_id = await built.submit(WORK.replace("pattern: task_async", mode))
        assert await built.statuses(execution_id) == ("RUNNING", "RUNNING")
        assert built.sent.empty()
        assert [asked.moment for asked in hook.asked] == ["run"]


async def test_a_question_for_the_result_of_an_attempt_is_not_asked_about() -> None:
    hook = Recorder()
    async with house(hook) as built:
        execution_id = await built.submit(
            WORK.replace("pattern: task_async", "pattern: task_async\n    completion: poll")
        )
        await built.answer(http_status=202, poll_url="http://127.0.0.1:1/asked")
        hook.stopped = Moment.RUN
        due_ms = NOW_MS + 1000
        due = TimerFired(at_ms=due_ms, kind="poll", task="do", due_ms=due_ms)
        await built.call(Delivery(execution_id=execution_id, event=due))
        assert (await built.sent.get()).resource_name == "http://127.0.0.1:1/asked"
        assert [asked.moment for asked in hook.asked].count("run") == 1


@pytest.mark.case("PL-01")
async def test_a_stopped_completion_callback_is_not_made_and_not_owed_any_more() -> None:
    store = open_store("memory:")
    async with house(Recorder(Moment.FINISH), store=store) as built:
        execution_id = await built.submit()
        await built.answer()
        await built.call_back(execution_id)
        await built.host.settled(execution_id)
        assert built.sent.empty()
    async with house(store=store) as later:
        assert await later.statuses(execution_id) == ("SUCCEED", "SUCCEEDED")
        assert later.sent.empty()


@pytest.mark.case("PL-01")
async def test_a_stopped_notice_of_a_sub_flow_leaves_the_task_above_waiting() -> None:
    hook = Recorder(Moment.FINISH)
    async with house(hook) as built:
        await built.add(WORK)
        above = await built.submit(ABOVE)
        below = (await built.answer()).execution_id
        await built.call_back(below)
        await built.host.settled(below)
        assert await built.statuses(below) == ("SUCCEED", "SUCCEEDED")
        assert await built.statuses(above) == ("RUNNING", "RUNNING")


async def test_a_refusal_is_the_same_with_hooks() -> None:
    async with house(Recorder()) as built:
        execution_id = await built.submit()
        event = WakeUpReceived(at_ms=NOW_MS, task="nobody")
        reply = await built.call(Delivery(execution_id=execution_id, event=event))
        assert (reply.kind, reply.changed) == (ExecutionError.code, False)


async def test_a_replay_asks_only_about_what_is_dispatched_again() -> None:
    store = open_store("memory:")
    async with house(store=store) as built:
        ended, waiting = await built.submit(), await built.submit()
        await built.answer()
        await built.call_back(ended)
    hook = Recorder()
    async with house(hook, store=store) as later:
        assert await later.statuses(ended) == ("SUCCEED", "SUCCEEDED")
        assert await later.statuses(waiting) == ("RUNNING", "RUNNING")
        assert sorted(hook.asked) == [("finish", "work", ""), ("run", "work", "do")]


# -- the settings ---------------------------------------------------------------------


def test_hooks_are_named_by_module_and_attribute_in_their_order() -> None:
    assert load_hooks(()) == ()
    loaded = load_hooks(Settings(hooks=("builtins:dict", "builtins:list")).hooks)
    assert [str(hook) for hook in loaded] == [str(dict), str(list)]
    for name in ("builtins", "builtins:nothing", "no.such.module:x", ":x", "sys:path"):
        with pytest.raises(RequestError, match=f"hook {name}"):
            load_hooks([name])
