"""An execution as its callers see it: read it, wait for it, steer it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from rillflow.client import exchanges
from rillflow.client.exchanges import AsyncTransport, Transport, ask, run, run_async
from rillflow.client.operations import Control, Finish, Redo, WakeUp
from rillflow.client.watching import TaskChange, Watch
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, JsonValue

RESULT_S: Final = 60.0
LOOK_S: Final = 0.25


class Execution:
    """One execution; every method asks the stack anew.

    All methods raise a ``RillflowError``: ``UnknownExecutionError`` where there is no
    execution of this id, ``ExecutionError`` where it cannot take the request now,
    ``UnreachableError`` where the stack did not answer.
    """

    def __init__(self, execution_id: ExecutionId, transport: Transport) -> None:
        self.id = execution_id
        self._transport = transport

    def __repr__(self) -> str:
        return f"Execution({self.id!r})"

    def get(self, *, brief: bool = False) -> JsonObject:
        """Return everything about it, as ``get.json`` does; ``brief`` leaves the tasks out."""
        view: JsonObject = run(self._transport, exchanges.read(self.id, brief=brief))
        return view

    def context(self) -> JsonObject:
        """Return its context as it is now."""
        return run(self._transport, exchanges.context(self.id))

    def status(self) -> str:
        """Return NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED or FAILED."""
        return run(self._transport, exchanges.status(self.id))

    def tasks(self) -> dict[str, JsonValue]:
        """Return every task by its full name, the members of groups included."""
        return run(self._transport, exchanges.tasks(self.id))

    def result(self, timeout_s: float = RESULT_S) -> JsonObject:
        """Wait for the end and return the context that it ended with.

        Raises:
            ExecutionFailedError: It failed; the error names the tasks and the reason.
            ExecutionTimeoutError: It had not ended after ``timeout_s`` seconds.
        """
        return run(self._transport, exchanges.result(self.id, timeout_s))

    def watch(self, every_s: float = LOOK_S) -> Iterator[TaskChange]:
        """Yield each change of a task's status until the execution has ended.

        It looks every ``every_s`` seconds, so changes that follow each other faster
        are seen as one.
        """
        watch = Watch(self.id, every_s)
        while not watch.ended:
            yield from run(self._transport, watch.look())

    def wake_up(self, task: str, data: JsonObject | None = None) -> None:
        """Send a signal to a suspense task; without data its conditions are checked again."""
        run(self._transport, ask(WakeUp(execution_id=self.id, task=task, data=data or {})))

    def finish(self, task: str, output: JsonObject | None = None, *, failed: bool = False) -> bool:
        """Report the outcome of a task that waits for one, as its function would.

        Returns:
            False when the task had an outcome already; nothing was changed then.
        """
        request = Finish(execution_id=self.id, task=task, output=output or {}, failed=failed)
        return bool(run(self._transport, ask(request)))

    def redo(self, tasks: Sequence[str] | None = None, data: JsonObject | None = None) -> None:
        """Run tasks, and all that follows them, again; None means all unfinished ones."""
        request = Redo(execution_id=self.id, tasks=tuple(tasks or ()), data=data or {})
        run(self._transport, ask(request))

    def cancel(self) -> None:
        """Stop it and its sub-flows; nothing more is dispatched."""
        run(self._transport, ask(Control(execution_id=self.id, order="cancel")))

    def pause(self) -> None:
        """Have it start no further task until it is resumed."""
        run(self._transport, ask(Control(execution_id=self.id, order="pause")))

    def resume(self) -> None:
        """Have it go on after a pause."""
        run(self._transport, ask(Control(execution_id=self.id, order="resume")))


class AsyncExecution:
    """One execution, for asyncio; see ``Execution``."""

    def __init__(self, execution_id: ExecutionId, transport: AsyncTransport) -> None:
        self.id = execution_id
        self._transport = transport

    def __repr__(self) -> str:
        return f"AsyncExecution({self.id!r})"

    async def get(self, *, brief: bool = False) -> JsonObject:
        """Return everything about it, as ``get.json`` does; ``brief`` leaves the tasks out."""
        view: JsonObject = await run_async(self._transport, exchanges.read(self.id, brief=brief))
        return view

    async def context(self) -> JsonObject:
        """Return its context as it is now."""
        return await run_async(self._transport, exchanges.context(self.id))

    async def status(self) -> str:
        """Return NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED or FAILED."""
        return await run_async(self._transport, exchanges.status(self.id))

    async def tasks(self) -> dict[str, JsonValue]:
        """Return every task by its full name, the members of groups included."""
        return await run_async(self._transport, exchanges.tasks(self.id))

    async def result(self, timeout_s: float = RESULT_S) -> JsonObject:
        """Wait for the end and return the context that it ended with.

        Raises:
            ExecutionFailedError: It failed; the error names the tasks and the reason.
            ExecutionTimeoutError: It had not ended after ``timeout_s`` seconds.
        """
        return await run_async(self._transport, exchanges.result(self.id, timeout_s))

    async def watch(self, every_s: float = LOOK_S) -> AsyncIterator[TaskChange]:
        """Yield each change of a task's status until the execution has ended."""
        watch = Watch(self.id, every_s)
        while not watch.ended:
            for change in await run_async(self._transport, watch.look()):
                yield change

    async def wake_up(self, task: str, data: JsonObject | None = None) -> None:
        """Send a signal to a suspense task; without data its conditions are checked again."""
        request = WakeUp(execution_id=self.id, task=task, data=data or {})
        await run_async(self._transport, ask(request))

    async def finish(
        self, task: str, output: JsonObject | None = None, *, failed: bool = False
    ) -> bool:
        """Report the outcome of a task that waits for one, as its function would.

        Returns:
            False when the task had an outcome already; nothing was changed then.
        """
        request = Finish(execution_id=self.id, task=task, output=output or {}, failed=failed)
        return bool(await run_async(self._transport, ask(request)))

    async def redo(
        self, tasks: Sequence[str] | None = None, data: JsonObject | None = None
    ) -> None:
        """Run tasks, and all that follows them, again; None means all unfinished ones."""
        request = Redo(execution_id=self.id, tasks=tuple(tasks or ()), data=data or {})
        await run_async(self._transport, ask(request))

    async def cancel(self) -> None:
        """Stop it and its sub-flows; nothing more is dispatched."""
        await run_async(self._transport, ask(Control(execution_id=self.id, order="cancel")))

    async def pause(self) -> None:
        """Have it start no further task until it is resumed."""
        await run_async(self._transport, ask(Control(execution_id=self.id, order="pause")))

    async def resume(self) -> None:
        """Have it go on after a pause."""
        await run_async(self._transport, ask(Control(execution_id=self.id, order="resume")))
