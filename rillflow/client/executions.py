"""An execution as its callers see it: read it, wait for it, control it.

Used by `cli`, `client/clients.py` and `rillflow/__init__.py`.
"""

from collections.abc import AsyncIterator, Generator, Sequence
from typing import Final, TypeVar

from rillflow.client import exchanges
from rillflow.client.exchanges import AsyncTransport, Exchange, Transport, run, run_async, steer
from rillflow.client.mapping_warnings import MappingWarning, mapping_warnings
from rillflow.client.operations import (
    Control,
    Finish,
    ReadLog,
    ReadTrace,
    ReadWaits,
    Redo,
    WakeUp,
    named_tasks,
)
from rillflow.client.patience import PATIENCE_S, OnSilence, Patience
from rillflow.client.watching import Look, TaskChange, Watch
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, JsonValue

T = TypeVar("T")

RESULT_S: Final = 60.0
LOOK_S: Final = 0.25


class Execution:
    """One execution; every method asks the stack anew.

    All methods raise a ``RillflowError``: ``UnknownExecutionError`` where there is no
    execution of this id, ``ExecutionError`` where it cannot take the request now,
    ``UnreachableError`` where the stack did not answer. ``result`` and ``watch`` outlive a
    restart of the stack once it has acknowledged the execution, by its submission or by any
    answer about it.
    """

    def __init__(
        self, execution_id: ExecutionId, transport: Transport, *, acknowledged: bool = False
    ) -> None:
        self.id = execution_id
        self._transport = transport
        self._acknowledged = acknowledged

    def __repr__(self) -> str:
        return f"Execution({self.id!r})"

    def get(self, *, brief: bool = False) -> JsonObject:
        """Return everything about it, as ``get.json`` does; ``brief`` leaves the tasks out."""
        view: JsonObject = self._hold(exchanges.read(self.id, brief=brief))
        return view

    def context(self) -> JsonObject:
        """Return its context as it is now."""
        return self._hold(exchanges.context(self.id))

    def status(self) -> str:
        """Return NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED or FAILED."""
        return self._hold(exchanges.status(self.id))

    def tasks(self, *, failed: bool = False) -> dict[str, JsonValue]:
        """Return every task by its full name, the members of groups included.

        With ``failed`` these are the ones that failed, for which fewer groups are read.
        """
        return self._hold(exchanges.tasks(self.id, failed=failed))

    def warnings(self) -> list[MappingWarning]:
        """Return the mapping rules without effect, such as misspelt paths.

        They change no status. Of each task these are the first 20, of an execution 1,000.
        """
        return self._hold(mapping_warnings(self.id))

    def task(self, name: str) -> JsonObject | None:
        """Return one task by its full name; None where there is none of this name."""
        return self._hold(exchanges.task(self.id, name))

    def log(self, task: str) -> list[JsonObject] | None:
        """Return what the last attempt of a task has printed; None where nothing is known of it.

        That is so of functions that Ray calls. Each stream is an object with its ``name``,
        ``out`` or ``err``, its ``text``, and ``is_cut`` where only the end is there.
        """
        found: list[JsonObject] | None = self._hold(
            exchanges.ask(ReadLog(execution_id=self.id, task=task))
        )
        return found

    def trace(self) -> JsonObject:
        """Return what it did when, as spans, since its submission or its last redo."""
        found: JsonObject = self._hold(exchanges.ask(ReadTrace(execution_id=self.id)))
        return found

    def waits(self, task: str = "") -> list[JsonObject]:
        """Return what its tasks wait for, or one of them, each with a ``sentence``.

        These are the first hundred; see docs/console-api.md. What a dispatcher holds back is told
        over HTTP only.
        """
        found = self._hold(exchanges.ask(ReadWaits(execution_id=self.id, task=task)))
        waits: list[JsonObject] = found["waits"]
        return waits

    def result(
        self,
        timeout_s: float = RESULT_S,
        *,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> JsonObject:
        """Wait for the end and return the context that it ended with.

        Args:
            timeout_s: How many seconds to wait.
            patience_s: How many of them to ask again when the stack does not answer (no
                connection, 502, 503, 504), before its error is raised; 0 for none.
            on_silence: Is called with the error and these seconds when that begins.

        Raises:
            ExecutionFailedError: It failed; the error names the tasks and the reason.
            ExecutionTimeoutError: It had not ended after ``timeout_s`` seconds, as far as the
                stack has answered; its silence is waited out for a second more at most.
        """
        patience = Patience(
            patience_s, on_silence, acknowledged=self._acknowledged, timeout_s=timeout_s
        )
        return self._hold(patience.hold(exchanges.result(self.id, timeout_s)))

    def watch(
        self,
        every_s: float = LOOK_S,
        *,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> Generator[TaskChange, None, str]:
        """Yield each change of a task's status until the execution has ended.

        It looks every ``every_s`` seconds, so changes that follow each other faster
        are seen as one. A stack that does not answer is borne as by ``result``. The value
        of the generator, as ``yield from`` gives it, is the status at the end.
        """
        watch = Watch(self.id, every_s)
        patience = Patience(patience_s, on_silence, acknowledged=self._acknowledged)
        while not watch.ended:
            yield from self._hold(patience.hold(watch.look()))
        return watch.status

    def looks(
        self,
        every_s: float = LOOK_S,
        *,
        most_groups: int | None = None,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> Generator[Look, None, str]:
        """Yield what ``watch`` sees, all of it at each look, also when nothing has changed.

        Args:
            every_s: Seconds between two looks.
            most_groups: Of how many groups of one task the members are read at a look, those
                that failed or run first; None for all.
            patience_s: As for ``watch``.
            on_silence: As for ``watch``.
        """
        watch = Watch(self.id, every_s, most_groups)
        patience = Patience(patience_s, on_silence, acknowledged=self._acknowledged)
        while not watch.ended:
            changes = self._hold(patience.hold(watch.look()))
            yield Look(watch.view, watch.tasks, changes)
        return watch.status

    def wake_up(self, task: str, data: JsonObject | None = None) -> None:
        """Send a signal to a suspense task; without data its conditions are checked again."""
        self._hold(steer(WakeUp(execution_id=self.id, task=task, data=data or {})))

    def finish(self, task: str, output: JsonObject | None = None, *, failed: bool = False) -> bool:
        """Report the outcome of a task that waits for one, as its function would.

        Returns:
            False when the task had an outcome already; nothing was changed then.
        """
        request = Finish(execution_id=self.id, task=task, output=output or {}, failed=failed)
        return bool(self._hold(steer(request)))

    def redo(
        self,
        tasks: Sequence[str] | None = None,
        data: JsonObject | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """Run what failed again, and what follows it; what succeeded is kept.

        Of a foreach, choice or sub-flow that failed, only those parts run again that did. A
        parent whose task has failed with this execution goes on with the new outcome; one whose
        task succeeded keeps the old one.

        Args:
            tasks: Which instances instead, by their full names; one of which something failed
                runs that again, any other one runs as a whole.
            data: What joins the context before.
            whole: Do it as Rill Flow does: without names all that is unfinished runs again,
                tasks that run are given up for a new attempt, and a name stands for the task
                of the top level that it is in, with all that is in that.

        Raises:
            RequestError: The list is empty, or a text; or, unless ``whole``, an instance is not
                there or has not started.
        """
        request = Redo(execution_id=self.id, tasks=named_tasks(tasks), data=data or {}, whole=whole)
        self._hold(steer(request))

    def cancel(self) -> None:
        """Stop it and its sub-flows; nothing more is dispatched."""
        self._hold(steer(Control(execution_id=self.id, order="cancel")))

    def pause(self) -> None:
        """Have it start no further task until it is resumed."""
        self._hold(steer(Control(execution_id=self.id, order="pause")))

    def resume(self) -> None:
        """Have it go on after a pause."""
        self._hold(steer(Control(execution_id=self.id, order="resume")))

    def _hold(self, exchange: Exchange[T]) -> T:
        answer = run(self._transport, exchange)
        self._acknowledged = True
        return answer


class AsyncExecution:
    """One execution, for asyncio; see ``Execution``."""

    def __init__(
        self, execution_id: ExecutionId, transport: AsyncTransport, *, acknowledged: bool = False
    ) -> None:
        self.id = execution_id
        self._transport = transport
        self._acknowledged = acknowledged

    def __repr__(self) -> str:
        return f"AsyncExecution({self.id!r})"

    async def get(self, *, brief: bool = False) -> JsonObject:
        """Return everything about it, as ``get.json`` does; ``brief`` leaves the tasks out."""
        view: JsonObject = await self._hold(exchanges.read(self.id, brief=brief))
        return view

    async def context(self) -> JsonObject:
        """Return its context as it is now."""
        return await self._hold(exchanges.context(self.id))

    async def status(self) -> str:
        """Return NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED or FAILED."""
        return await self._hold(exchanges.status(self.id))

    async def tasks(self, *, failed: bool = False) -> dict[str, JsonValue]:
        """Return every task by its full name; see ``Execution.tasks``."""
        return await self._hold(exchanges.tasks(self.id, failed=failed))

    async def warnings(self) -> list[MappingWarning]:
        """Return the mapping warnings; see ``Execution.warnings``."""
        return await self._hold(mapping_warnings(self.id))

    async def task(self, name: str) -> JsonObject | None:
        """Return one task by its full name; None where there is none of this name."""
        return await self._hold(exchanges.task(self.id, name))

    async def log(self, task: str) -> list[JsonObject] | None:
        """Return what the last attempt of a task has printed; see ``Execution.log``."""
        found: list[JsonObject] | None = await self._hold(
            exchanges.ask(ReadLog(execution_id=self.id, task=task))
        )
        return found

    async def trace(self) -> JsonObject:
        """Return what it did when, as spans; see ``Execution.trace``."""
        found: JsonObject = await self._hold(exchanges.ask(ReadTrace(execution_id=self.id)))
        return found

    async def waits(self, task: str = "") -> list[JsonObject]:
        """Return what its tasks wait for, each with a ``sentence``; see ``Execution.waits``."""
        found = await self._hold(exchanges.ask(ReadWaits(execution_id=self.id, task=task)))
        waits: list[JsonObject] = found["waits"]
        return waits

    async def result(
        self,
        timeout_s: float = RESULT_S,
        *,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> JsonObject:
        """Wait for the end and return the context that it ended with; see ``Execution.result``."""
        patience = Patience(
            patience_s, on_silence, acknowledged=self._acknowledged, timeout_s=timeout_s
        )
        return await self._hold(patience.hold(exchanges.result(self.id, timeout_s)))

    async def watch(
        self,
        every_s: float = LOOK_S,
        *,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> AsyncIterator[TaskChange]:
        """Yield each change of a task's status until the execution has ended."""
        watch = Watch(self.id, every_s)
        patience = Patience(patience_s, on_silence, acknowledged=self._acknowledged)
        while not watch.ended:
            for change in await self._hold(patience.hold(watch.look())):
                yield change

    async def wake_up(self, task: str, data: JsonObject | None = None) -> None:
        """Send a signal to a suspense task; without data its conditions are checked again."""
        request = WakeUp(execution_id=self.id, task=task, data=data or {})
        await self._hold(steer(request))

    async def finish(
        self, task: str, output: JsonObject | None = None, *, failed: bool = False
    ) -> bool:
        """Report the outcome of a task that waits for one, as its function would.

        Returns:
            False when the task had an outcome already; nothing was changed then.
        """
        request = Finish(execution_id=self.id, task=task, output=output or {}, failed=failed)
        return bool(await self._hold(steer(request)))

    async def redo(
        self,
        tasks: Sequence[str] | None = None,
        data: JsonObject | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """Run what failed again; see ``Execution.redo``."""
        request = Redo(execution_id=self.id, tasks=named_tasks(tasks), data=data or {}, whole=whole)
        await self._hold(steer(request))

    async def cancel(self) -> None:
        """Stop it and its sub-flows; nothing more is dispatched."""
        await self._hold(steer(Control(execution_id=self.id, order="cancel")))

    async def pause(self) -> None:
        """Have it start no further task until it is resumed."""
        await self._hold(steer(Control(execution_id=self.id, order="pause")))

    async def resume(self) -> None:
        """Have it go on after a pause."""
        await self._hold(steer(Control(execution_id=self.id, order="resume")))

    async def _hold(self, exchange: Exchange[T]) -> T:
        answer = await run_async(self._transport, exchange)
        self._acknowledged = True
        return answer
