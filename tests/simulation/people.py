"""Everybody outside: who submits and waits, who wakes up, and who asks for all sorts."""

from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    Event,
    ExecutionSubmitted,
    PauseRequested,
    RedoRequested,
    ResumeRequested,
    WakeUpReceived,
)
from rillflow.core.status import TaskStatus
from rillflow.errors import RillflowError, StoreError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery, Query, Reply, Submission
from tests.simulation.flows import SUSPENSE
from tests.simulation.mirror import Mirror
from tests.simulation.parts import Executions
from tests.simulation.promises import Promises
from tests.simulation.surroundings import START_MS, Surroundings

WAIT_S = 25.0


class People:
    """Callers of the API; see the module."""

    def __init__(
        self, around: Surroundings, executions: Executions, clock: Clock, promises: Promises
    ) -> None:
        self._around = around
        self._executions = executions
        self._clock = clock
        self._promises = promises
        self.submitted: list[ExecutionId] = []
        self.waiting = 0

    async def submit_and_wait(self, number: int, definition_id: str, x: int) -> None:
        """Submit one execution, again until it is taken, and wait for its end."""
        entropy = self._around.seed.to_bytes(8) + number.to_bytes(2)
        execution_id = new_execution_id("demo", "main", at_ms=START_MS, entropy=entropy)
        await self._around.pause(0.0, 2.0)
        event = ExecutionSubmitted(
            at_ms=self._clock.now_ms(),
            execution_id=execution_id,
            definition_id=definition_id,
            data=b'{"x":%d}' % x,
            host="http://rillflow.test",
        )
        submission = Submission(business="demo", feature="main", event=event)
        self.waiting += 1
        while (await self._call(submission)).error is not None:
            await self._around.pause(0.1, 1.0)
        self.submitted.append(execution_id)
        self._around.note("submitted", execution_id[-4:])
        if self._around.happens(self._around.faults.repeated):
            await self._call(submission)
        await self._wait(execution_id)
        self.waiting -= 1

    async def _wait(self, execution_id: ExecutionId) -> None:
        while True:
            try:
                ended = await self._executions.wait(execution_id, WAIT_S)
            except RillflowError:
                await self._around.pause(0.1, 1.0)
                continue
            if ended:
                self._promises.said_ended(execution_id)
                return

    async def wake_sleepers(self) -> None:
        """Wake up every suspense task that waits, sooner or later; and resume what pauses."""
        while True:
            await self._around.pause(0.2, 1.5)
            for execution_id, mirror in list(self._promises.mirrors.items()):
                if not mirror.over:
                    await self._wake(execution_id, mirror)

    async def _wake(self, execution_id: ExecutionId, mirror: Mirror) -> None:
        for name, task in list(mirror.state.tasks.items()):
            if task.base.startswith(SUSPENSE) and task.status is TaskStatus.RUNNING:
                await self._deliver(execution_id, self._signal(name))
        if mirror.state.paused and not self._around.faults.requests:
            await self._deliver(execution_id, ResumeRequested(at_ms=self._clock.now_ms()))

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
        execution_id = random.choice(list(mirrors))
        task = random.choice(list(mirrors[execution_id].state.tasks))
        at_ms = self._clock.now_ms()
        success = random.random() < 0.5
        is_child = mirrors[execution_id].state.parent is not None
        event: Event = random.choice(
            [
                RedoRequested(at_ms=at_ms),
                RedoRequested(at_ms=at_ms, tasks=(task,)),
                RedoRequested(at_ms=at_ms, tasks=(task,)),
                CancelRequested(at_ms=at_ms),
                # Ending a sub-flow by hand tells nobody, so its parent would wait for ever.
                PauseRequested(at_ms=at_ms)
                if is_child
                else CompletionRequested(at_ms=at_ms, success=success),
                PauseRequested(at_ms=at_ms),
                ResumeRequested(at_ms=at_ms),
                DegradeRequested(at_ms=at_ms, task=task, current=True, followings=False),
                WakeUpReceived(at_ms=at_ms, task=task, data=b'{"go":false}'),
            ]
        )
        await self._deliver(execution_id, event)

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
            return await self._executions.call(call)
        except StoreError as error:
            return Reply(error=str(error), kind=StoreError.code)
