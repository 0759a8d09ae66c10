"""Everybody outside: who submits and waits, who wakes up, and who asks for all sorts."""

import asyncio
from random import Random
from typing import Final, NamedTuple

from rillflow.core.agenda import TURN_MAX_TASK_STEPS
from rillflow.core.events import (
    DESCENDANTS_MAX,
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    Event,
    ExecutionSubmitted,
    PauseRequested,
    ProgressReported,
    RedoRequested,
    ResumeRequested,
    WakeUpReceived,
)
from rillflow.core.state import TaskState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.errors import DefectError, RillflowError, StoreError, UnavailableError
from rillflow.ids import ID_KEY_BYTES, ExecutionId, new_execution_id
from rillflow.language.versions import CURRENT
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery, Query, Reply, Submission, reply_to_error
from rillflow.ports.storage.store import Store
from rillflow.runtime.submission.intake import Options, Submissions, execution_settings
from rillflow.settings import Settings
from tests.simulation.flows import SUSPENSE
from tests.simulation.mirror import Mirror
from tests.simulation.parts import Executions
from tests.simulation.promises import Promises
from tests.simulation.surroundings import START_MS, Surroundings

WAIT_S: Final = 25.0
HOST: Final = "http://rillflow.test"


class Wish(NamedTuple):
    """An execution that somebody wants.

    ``callers`` submit it at once with an idempotency key; 0 is one without a key, who
    makes up the execution's id, as an executor of a sub-flow does. One that is
    ``dedicated`` has a process of its own.
    """

    number: int
    definition_id: str
    x: int
    uid: int
    callers: int
    dedicated: bool

    @property
    def data(self) -> bytes:
        """What the execution starts with."""
        return b'{"x":%d}' % self.x


class People:
    """Callers of the API; see the module."""

    def __init__(
        self,
        around: Surroundings,
        executions: Executions,
        clock: Clock,
        promises: Promises,
        store: Store,
        *,
        expected_callback_s: float | None,
        impatience: float,
        most_children: int | None,
    ) -> None:
        """Live in a world; None children at most means that it is as before there was a limit.

        Executions have no secret keys there, as those of earlier releases.
        """
        self._around = around
        self._impatience = impatience
        self.executions = executions
        self._clock = clock
        self._promises = promises
        self._key = b"" if most_children is None else b"k" * ID_KEY_BYTES
        self._random = Random(around.seed + 3)
        self._settings = Settings(
            storage_max_usage_percent=0,
            expected_callback_s=expected_callback_s,
            max_descendants=DESCENDANTS_MAX if most_children is None else most_children,
            turn_max_task_steps=1 + around.seed // 3 % 5
            if around.seed % 3 == 0
            else TURN_MAX_TASK_STEPS,
        )
        self._submissions = Submissions(
            self._settings,
            store=store,
            executions=executions,
            clock=clock,
            entropy=lambda _: self._random.randbytes(10) + self._key,
        )
        self.submitted: dict[int, ExecutionId] = {}
        self.waiting = 0

    async def submit_and_wait(self, wish: Wish) -> None:
        """Submit one execution, again until it is taken, and wait for its end, if patient."""
        self.waiting += 1
        await self._around.pause(0.0, 2.0)
        if wish.callers:
            execution_id = await self._submit_together(wish)
        else:
            execution_id = await self._submit_by_id(wish)
        self.submitted[wish.number] = execution_id
        self._around.note("submitted", execution_id[-4:])
        self._promises.submitted(execution_id)
        if not self._around.happens(self._impatience):
            await self._wait(execution_id)
        self.waiting -= 1

    async def _submit_together(self, wish: Wish) -> ExecutionId:
        """Submit by several callers with one idempotency key, who all get the same execution."""
        asked = (self._submit_by_key(wish) for _ in range(wish.callers))
        found = [*await asyncio.gather(*asked), await self._submit_by_key(wish)]
        if len(set(found)) > 1:
            self._around.break_promise(f"one idempotency key, and executions {set(found)}")
        return found[0]

    async def _submit_by_key(self, wish: Wish) -> ExecutionId:
        options = Options(
            uid=wish.uid,
            idempotency_key=f"wish {wish.number}",
            isolation="dedicated" if wish.dedicated else "shared",
        )
        while True:
            await self._around.pause(0.0, 0.1)
            try:
                return await self._submissions.submit("demo:main", wish.data, options)
            except RillflowError as error:
                self._around.note("not submitted", str(error))
            await self._around.pause(0.1, 1.0)

    async def _submit_by_id(self, wish: Wish) -> ExecutionId:
        entropy = self._around.seed.to_bytes(8) + wish.number.to_bytes(2)
        execution_id = new_execution_id(
            "demo", "main", at_ms=START_MS, entropy=entropy, dedicated=wish.dedicated
        )
        event = ExecutionSubmitted(
            at_ms=self._clock.now_ms(),
            execution_id=execution_id,
            definition_id=wish.definition_id,
            data=wish.data,
            host=HOST,
            uid=wish.uid,
            dedicated=wish.dedicated,
            language=CURRENT,
            id_key=self._key,
            **execution_settings(self._settings),
        )
        submission = Submission(business="demo", feature="main", event=event)
        while (await self._submit(wish, submission)).error is not None:
            await self._around.pause(0.1, 1.0)
        if self._around.happens(self._around.faults.repeated):
            await self._call(submission)
        return execution_id

    async def _submit(self, wish: Wish, submission: Submission) -> Reply:
        """Submit, and every other time wait for the end in the same call."""
        if wish.number % 2:
            return await self._call(submission)
        try:
            reply, end = await self.executions.run(submission, WAIT_S, "status")
        except RillflowError as error:
            return reply_to_error(error)
        if end.has_ended:
            self._promises.said_ended(submission.execution_id, end.body)
        return reply

    async def _wait(self, execution_id: ExecutionId) -> None:
        while True:
            try:
                end = await self.executions.end(execution_id, WAIT_S, "status")
            except RillflowError:
                await self._around.pause(0.1, 1.0)
                continue
            if end.has_ended:
                self._promises.said_ended(execution_id, end.body)
                return

    async def wake_sleepers(self) -> None:
        """Wake up what waits for somebody, sooner or later, and resume what pauses."""
        while True:
            await self._around.pause(0.2, 1.5)
            for execution_id, mirror in list(self._promises.mirrors.items()):
                if not mirror.over:
                    await self._wake(execution_id, mirror)

    async def _wake(self, execution_id: ExecutionId, mirror: Mirror) -> None:
        for name, task in list(mirror.state.tasks.items()):
            if task.base.startswith(SUSPENSE) and task.status is TaskStatus.RUNNING:
                await self._deliver(execution_id, self._signal(name))
            elif self._waits_in_vain(execution_id, task):
                at_ms = self._clock.now_ms()
                again = RedoRequested(at_ms=at_ms, tasks=(name,), failed_only=False)
                await self._deliver(execution_id, again)
        if mirror.state.paused and not self._around.faults.requests:
            await self._deliver(execution_id, ResumeRequested(at_ms=self._clock.now_ms()))

    def _waits_in_vain(self, execution_id: ExecutionId, task: TaskState) -> bool:
        """Tell whether a task goes on waiting for a callback that came while all had ended.

        A redo of another task makes it wait again, and only a redo of its own helps.
        """
        was_sent_away = (execution_id, task.name, task.attempt) in self._promises.sent_away_from
        waits = task.status in (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
        return was_sent_away and waits and not task.in_flight

    def _signal(self, task: str) -> Event:
        at_ms = self._clock.now_ms()
        if self._around.random.random() < 0.5:
            return WakeUpReceived(at_ms=at_ms, task=task, data=b'{"go":true}')
        return CallbackReceived(at_ms=at_ms, task=task, output=b'{"go":true}', trigger=True)

    async def meddle(self) -> None:
        """Ask for something that changes the course of an execution, or only look at it."""
        mirrors = self._promises.mirrors
        if not mirrors:
            return
        random = self._around.random
        failed = [name for name, one in mirrors.items() if one.state.status is DagStatus.FAILED]
        if failed and random.random() < 0.6:
            again = RedoRequested(at_ms=self._clock.now_ms(), failed_only=True)
            flows = [name for name in failed if self._has_kin(name)]
            await self._deliver(random.choice(flows or failed), again)
            return
        execution_id = random.choice(list(mirrors))
        task = random.choice(list(mirrors[execution_id].state.tasks))
        at_ms = self._clock.now_ms()
        success = random.random() < 0.5
        is_child = mirrors[execution_id].state.parent is not None
        event: Event = random.choice(
            [
                RedoRequested(at_ms=at_ms, failed_only=False),
                RedoRequested(at_ms=at_ms, tasks=(task,), failed_only=False),
                RedoRequested(at_ms=at_ms, tasks=(task,), failed_only=True),
                RedoRequested(at_ms=at_ms, failed_only=True),
                CancelRequested(at_ms=at_ms),
                # Ending a sub-flow by hand tells nobody, so its parent would wait for ever.
                PauseRequested(at_ms=at_ms)
                if is_child
                else CompletionRequested(at_ms=at_ms, success=success),
                PauseRequested(at_ms=at_ms),
                ResumeRequested(at_ms=at_ms),
                DegradeRequested(at_ms=at_ms, task=task, current=True, followings=False),
                WakeUpReceived(at_ms=at_ms, task=task, data=b'{"go":false}'),
                ProgressReported(at_ms=at_ms, task=task, fraction=0.5, message="half"),
            ]
        )
        await self._deliver(execution_id, event)

    def _has_kin(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is a sub-flow, or has one."""
        state = self._promises.mirrors[execution_id].state
        children = (task.invoke.referenced_execution_id for task in state.tasks.values())
        return state.parent is not None or any(children)

    async def look(self) -> None:
        """Read the status of an execution now and then."""
        while True:
            await self._around.pause(0.3, 3.0)
            mirrors = list(self._promises.mirrors)
            if mirrors:
                await self._call(
                    Query(execution_id=self._around.random.choice(mirrors), kind="status")
                )

    async def _deliver(self, execution_id: ExecutionId, event: Event) -> None:
        reply = await self._call(Delivery(execution_id=execution_id, event=event))
        self._around.note("asked", f"{execution_id[-4:]} {type(event).__name__} {reply.error}")

    async def _call(self, call: Submission | Delivery | Query) -> Reply:
        try:
            return await self.executions.call(call)
        except (StoreError, UnavailableError, DefectError) as error:
            return reply_to_error(error)
