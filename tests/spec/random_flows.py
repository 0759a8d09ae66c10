"""Random workflows, and a player that answers whatever they want in random order."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final

from hypothesis import strategies as st

from rillflow.core.agenda import REMAINING
from rillflow.core.commands import DispatchTask, RedoChild
from rillflow.core.encoding import codec
from rillflow.core.events import Event, NoticeDelivered, ParentLink, SubFlowNotice, TimerFired
from rillflow.core.machine import outstanding
from rillflow.core.state import TaskState
from rillflow.core.status import TaskStatus
from rillflow.errors import RillflowError
from rillflow.testing import Scenario
from rillflow.testing.scenario import AnswerDetails
from rillflow.testing.wants import Want
from tests.spec.notation import (
    Definition,
    Json,
    at_most,
    choice,
    each,
    flow,
    fn,
    on_input,
    on_output,
    pass_,
    ret,
    susp,
    sw,
)

BROKEN: Final = {"transform": "1 +", "target": "$.context.broken"}
INPUTS: Final[list[Json]] = [
    None,
    "x",
    "x,y,list",
    [{"source": "[1, 2, {a: null}]", "target": "$.input.list"}],
    [{"source": "$.context.list", "target": "$.input.list[1]"}, BROKEN],
    [{"transform": "rand(9)", "target": "$.input.x"}],
]
OUTPUTS: Final[list[Json]] = [
    None,
    "x",
    "x,y<=data",
    [{"source": "$.output", "target": "$.context.list[0].deep"}],
    [{"source": "$.output.sub_context[*].x", "target": "$.context.list"}],
    [{**BROKEN, "tolerance": False}],
]
CONDITIONS: Final = ["$.input.x", on_input("x > 2"), on_input("x != 3"), "$$$", "$.input"]
ANSWERS: Final[list[Json]] = [{}, {"x": 1}, {"x": 3, "go": True}, [1], None, {"result_type": "F"}]
PARENT: Final = ParentLink(execution_id="parent", task="A", attempt=1, pattern="flow_sync")
SELDOM: Final = (None, None, True)
MOST_TASKS: Final = 7


class _Drawing:
    """Draws the tasks of one workflow; every task has another name."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0

    def one(self, *choices: Json) -> Json:
        return self._draw(st.sampled_from(choices))

    def level(self, depth: int) -> list[Definition]:
        tasks: list[Definition] = []
        for _ in range(self._draw(st.integers(2, 4))):
            if not tasks or self._names < MOST_TASKS:
                tasks.append(self._task(depth))
        names = [task["name"] for task in tasks]
        for position, task in enumerate(tasks):
            later = names[position + 1 :]
            chosen = [name for name in later if self._draw(st.booleans())]
            if task["category"] == "switch" and later:
                entries = zip(self._draw(st.permutations(CONDITIONS)), later, strict=False)
                pairs = [(condition, name + self.one("", "!")) for condition, name in entries]
                task.update(sw("", *pairs, ("default", names[-1])) | {"name": task["name"]})
            elif chosen:
                task["next"] = ",".join(chosen)
            if later and self.one(*SELDOM):
                task["catch"] = self.one(*later)
        return tasks

    def _task(self, depth: int) -> Definition:
        self._names += 1
        name = f"T{self._names}"
        makers: list[Callable[[str], Definition]] = [
            *[self._function] * 5,
            pass_,
            lambda name: ret(name, self.one(*CONDITIONS)),
            sw,
            self._suspense,
        ]
        if depth > 1:
            makers += [lambda name: self._each(name, depth), lambda name: self._choice(name, depth)]
        task = self._draw(st.sampled_from(makers))(name)
        self._decorate(task)
        return task

    def _decorate(self, task: Definition) -> None:
        extras: Definition = {
            "inputMappings": fn("", ins=self.one(*INPUTS)).get("inputMappings"),
            "outputMappings": fn("", outs=self.one(*OUTPUTS)).get("outputMappings"),
            "tolerance": self.one(*SELDOM),
            "keyCallback": self.one(*SELDOM),
            "inputType": self.one(None, None, None, "stream"),
            "outputType": self.one(None, None, None, "stream"),
            "degrade": self.one(*[None] * 6, {"current": True}, {"followings": True}),
            "timeline": self.one(
                *[None] * 5, {"timeoutInSeconds": "3"}, {"suspenseIntervalSeconds": "2"}
            ),
        }
        for key, value in extras.items():
            if value is not None:
                task.setdefault(key, value)

    def _function(self, name: str) -> Definition:
        retry = {"maxRetryTimes": self.one(0, 1, 2), "intervalInSeconds": self.one(0, 1)}
        conditions = self.one(None, None, [on_output("x == 1")])
        kind = self.one("async", "async", "sync", "flow_sync", "flow_async")
        completion = self.one(None, None, "poll") if kind == "async" else None
        return fn(name, kind, retry=retry, success_conditions=conditions, completion=completion)

    def _suspense(self, name: str) -> Definition:
        interruptions = self.one(None, [on_input("x == 3")])
        return susp(
            name, on_input("go == true"), ins="go,x", outs="go,x", interruptions=interruptions
        )

    def _each(self, name: str, depth: int) -> Definition:
        elements = self.one("[1, 2, 3]", "[1, 2, 3]", "[4]", "[]", "[null]", "7")
        return each(
            name,
            "list",
            *self.level(depth - 1),
            index="x",
            ins=[{"source": elements, "target": "$.input.list"}],
            synchronization=self.one(None, at_most(1), at_most(2)),
        )

    def _choice(self, name: str, depth: int) -> Definition:
        count = self._draw(st.integers(1, 3))
        return choice(name, *[(self.one(*CONDITIONS), self.level(depth - 1)) for _ in range(count)])


@st.composite
def flows(draw: st.DrawFn) -> Definition:
    """Draw a workflow of all categories, with groups in groups."""
    timeline = draw(st.sampled_from([None] * 5 + [{"timeoutInSeconds": "9"}]))
    callback = draw(st.sampled_from([None, {"resourceName": "http://listener"}]))
    return flow(*_Drawing(draw).level(3), timeline=timeline, callback=callback)


class Watched(Scenario):
    """A scenario that keeps the encoded state after every event that counted.

    Events that did not count are checked to have changed nothing.
    """

    states: list[bytes]

    def _take_remaining(self) -> list[Want]:
        """Leave the rest of a step to the player, for whom other events may come first."""
        return []

    def take(self, event: Event) -> list[Want]:
        before = codec.encode_state(self.state)
        self.changed = False  # also after what is refused, unless the refusal itself is kept
        try:
            return super().take(event)
        finally:
            after = codec.encode_state(self.state)
            assert self.changed or after == before
            if self.changed:
                self.states.append(after)


class Player:
    """Plays the world of one scenario, one random step at a time."""

    def __init__(self, definition: Definition, seed: int) -> None:
        self.random = random = Random(seed)  # noqa: S311 - no secrets
        self.run = Watched(
            definition,
            parent=PARENT if seed % 3 else None,
            turn_max_task_steps=random.choice([1, 1, 2, 3, 5, 20]),
        )
        self.run.submit({"x": random.choice([1, 3]), "list": [1]})
        self.run.states = [codec.encode_state(self.run.state)]

    def step(self) -> bool:
        """Answer something that is waited for; False when nothing is."""
        moves = [*self._answers(), *self._outcomes(), *self._orders()]
        if self.run.state.remaining is not None:
            moves = [*moves, *[self.go_on] * (1 + len(moves))]
        elif self.run.timers and (not moves or self.random.random() < 0.2):
            moves = [lambda: self.run.advance(1)]
        if not moves:
            return False
        self._try(self.random.choice(moves))
        return True

    def go_on(self) -> None:
        """Take some of the steps that were left to a later event."""
        remaining = self.run.state.remaining
        if remaining is not None:
            at_ms = self.run.now_ms
            self.run.take(TimerFired(at_ms=at_ms, kind=REMAINING, task="", due_ms=remaining.due_ms))

    def disturb(self) -> None:
        """Do something that nothing waits for; most of it is refused or counts for nothing."""
        run, name = self.run, self._any_name()
        moves: list[Callable[[], object]] = [
            lambda: run.finish(name, {"x": 1}, succeeded=False, early=True, attempt=1),
            lambda: run.finish(name, {"x": 3}, early=True),
            lambda: run.trigger(name, {"x": 2}),
            lambda: run.answer(name, {"x": 1}),
            lambda: run.wake(name, {"x": 3}),
            lambda: run.degrade(name, current=self.random.random() < 0.5, followings=True),
            lambda: run.redo(name, data={"x": 2}),
            lambda: run.redo(name, data={"x": 1}, failed_only=True),
            lambda: run.redo(failed_only=True),
            lambda: self._hear_of_child(name),
            lambda: run.redo(data={"__reserved": 1}),
            run.pause,
            run.resume,
            lambda: run.deliver("completion"),
            lambda: run.deliver("parent"),
            lambda: run.advance(1),
        ]
        if self.random.random() < 0.1:
            moves = [
                run.cancel,
                lambda: run.complete(success=self.random.random() < 0.5),
                run.redo,
                lambda: run.redo(failed_only=True),
            ]
        self._try(self.random.choice(moves))

    def _hear_of_child(self, name: str) -> None:
        """Let the sub-flow of a task say, once more or for the first time, how it is."""
        task, running = (
            self.run.state.tasks.get(name, TaskState("", "")),
            self.random.random() < 0.5,
        )
        number = task.told + self.random.randint(0, 2)
        self.run.finish(
            name,
            {"x": 4},
            succeeded=None if running else self.random.random() < 0.7,
            early=True,
            attempt=task.attempt,
            sub_flow=SubFlowNotice(number=number, redone=True, running=running),
        )

    def _try(self, move: Callable[[], object]) -> None:
        with suppress(RillflowError):
            move()

    def _any_name(self) -> str:
        return self.random.choice([*self.run.state.tasks, "Unknown"])

    def _answers(self) -> list[Callable[[], object]]:
        wanted = outstanding(self.run.plan, self.run.state)
        return [
            lambda command=command: self._answer(command)  # type: ignore[misc]
            for command in wanted
            if isinstance(command, DispatchTask) and command.task
        ]

    def _orders(self) -> list[Callable[[], object]]:
        """Deliver what is to be told to sub-flows; one in three is gone by then."""
        return [
            lambda command=command: self.run.take(  # type: ignore[misc]
                NoticeDelivered(
                    at_ms=self.run.now_ms,
                    kind="redo",
                    error=self.random.choice([None, None, "gone"]),
                    attempt=command.order,
                    child=command.execution_id,
                    task=command.task,
                )
            )
            for command in outstanding(self.run.plan, self.run.state)
            if isinstance(command, RedoChild)
        ]

    def _answer(self, command: DispatchTask) -> None:
        details = AnswerDetails(http_status=self.random.choice([200, 202, 503]))
        body = self.random.choice(ANSWERS)
        if command.pattern.startswith("flow"):
            body = self.random.choice([{"execution_id": "c"}, {"execution_id": "c"}, {}])
        elif command.pattern == "task_async" and self.random.random() < 0.5:
            details["poll_url"] = "http://gateway/status"
        error = self.random.choice([None, None, None, "refused"])
        self.run.answer(command.task, body, error=error, **details)

    def _outcomes(self) -> list[Callable[[], object]]:
        return [
            lambda task=task: self._end(task)  # type: ignore[misc]
            for task in self.run.state.tasks.values()
            if task.status in (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
            and not task.routes
            and not self.run.plan.by_name[task.base].spec.has_groups
        ]

    def _end(self, task: TaskState) -> None:
        plan = self.run.plan.by_name[task.base]
        body = self.random.choice(ANSWERS)
        if plan.category == "suspense":
            self.run.wake(task.name, {"go": True})
            return
        key = plan.spec.model_dump()["pattern"] == "flow_sync" and self.random.random() < 0.3
        self.run.finish(
            task.name,
            body,
            succeeded=self.random.choice([True, True, False, None]),
            early=self.random.random() < 0.5,
            key_succeeded=key,
        )
