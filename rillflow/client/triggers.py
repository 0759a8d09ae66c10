"""The triggers of a stack, for clients: added, listed, paused, fired and removed.

Used by `client/clients.py`.
"""

from typing import Any, Final

from rillflow.client.exchanges import AsyncTransport, Transport, ask, run, run_async
from rillflow.client.operations import TriggerAction, TriggerRequest
from rillflow.errors import ServerError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject

PAGE: Final = 500
MOST_PAGES: Final = 1_000
"""A stack has 20,000 triggers at most; a server that tells of more pages is none."""
_ENDLESS: Final = f"the answer is not Rillflow's: it lists triggers on more than {MOST_PAGES} pages"


class Triggers:
    """The triggers of one stack; a trigger is a JSON object with the fields of docs/triggers.md."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        descriptor_id: str,
        cron: str | None = None,
        context: JsonObject | None = None,
        *,
        trigger_id: str | None = None,
        replace: bool = False,
        **fields: Any,
    ) -> JsonObject:
        """Add a trigger and return it.

        Args:
            descriptor_id: Which definition it starts.
            cron: The expression of its times, if it has times.
            context: The data of the executions.
            trigger_id: Its id; without one it gets the next number.
            replace: Whether a trigger of this id may be there already.
            fields: ``kafka``, ``webhook`` or ``source`` in place of ``cron``; ``time_zone``,
                ``start``, ``end``,
                ``jitter_s``, ``overlap``, ``catch_up``, ``callback``, ``resource_check`` and
                ``paused``.

        Raises:
            RequestError: Something is malformed, the id is taken, or there are too many.
        """
        body = _new(descriptor_id, cron, context, trigger_id, fields, replace=replace)
        return self._do("add", body=body)

    def all(self) -> list[JsonObject]:
        """Return all triggers by id, without their contexts."""
        found: list[JsonObject] = []
        after = ""
        for _ in range(MOST_PAGES):
            page = self._do("list", after=after, limit=str(PAGE))
            found += _listed(page)
            after = str(page.get("next") or "")
            if not after:
                return found
        raise ServerError(_ENDLESS)

    def show(self, trigger_id: str) -> JsonObject:
        """Return a trigger with its context and what it has done.

        Raises:
            RequestError: There is none.
        """
        return self._do("show", trigger_id=trigger_id)

    def pause(self, trigger_id: str) -> None:
        """Have a trigger fire nothing until it is resumed.

        Raises:
            RequestError: There is none.
        """
        self._do("pause", trigger_id=trigger_id)

    def resume(self, trigger_id: str) -> None:
        """Have a trigger fire again; the times of the pause are not made up for.

        Raises:
            RequestError: There is none.
        """
        self._do("resume", trigger_id=trigger_id)

    def remove(self, trigger_id: str) -> None:
        """Remove a trigger.

        Raises:
            RequestError: There is none, or a definition declares it.
        """
        self._do("remove", trigger_id=trigger_id)

    def fire(self, trigger_id: str, *, idempotency_key: str = "") -> ExecutionId:
        """Start an execution now, whatever the schedule says; with a key it happens once.

        Raises:
            RillflowError: There is no such trigger, or the submission was refused.
        """
        found = self._do("fire", trigger_id=trigger_id, idempotency_key=idempotency_key)
        return str(found["execution_id"])

    def backfill(self, trigger_id: str, begin: str, end: str) -> list[ExecutionId]:
        """Start the executions of all scheduled times of a span that were not started.

        Args:
            trigger_id: The trigger.
            begin: The first time, in ISO 8601.
            end: The last time.

        Returns:
            The executions of all times of the span.

        Raises:
            RillflowError: There is no such trigger, the span has too many times, or a submission
                was refused.
        """
        span = {"trigger_id": trigger_id, "from": begin, "to": end}
        found: JsonObject = run(self._transport, ask(_request("backfill", None, span)))
        return _started(found)

    def _do(
        self, action: TriggerAction, *, body: JsonObject | None = None, **query: str
    ) -> JsonObject:
        found: JsonObject = run(self._transport, ask(_request(action, body, query)))
        return found


class AsyncTriggers:
    """The triggers of one stack, for asyncio; see ``Triggers``."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def add(
        self,
        descriptor_id: str,
        cron: str | None = None,
        context: JsonObject | None = None,
        *,
        trigger_id: str | None = None,
        replace: bool = False,
        **fields: Any,
    ) -> JsonObject:
        """Add a trigger and return it; see ``Triggers.add``."""
        body = _new(descriptor_id, cron, context, trigger_id, fields, replace=replace)
        return await self._do("add", body=body)

    async def all(self) -> list[JsonObject]:
        """Return all triggers by id, without their contexts."""
        found: list[JsonObject] = []
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._do("list", after=after, limit=str(PAGE))
            found += _listed(page)
            after = str(page.get("next") or "")
            if not after:
                return found
        raise ServerError(_ENDLESS)

    async def show(self, trigger_id: str) -> JsonObject:
        """Return a trigger; see ``Triggers.show``."""
        return await self._do("show", trigger_id=trigger_id)

    async def pause(self, trigger_id: str) -> None:
        """Pause a trigger; see ``Triggers.pause``."""
        await self._do("pause", trigger_id=trigger_id)

    async def resume(self, trigger_id: str) -> None:
        """Resume a trigger; see ``Triggers.resume``."""
        await self._do("resume", trigger_id=trigger_id)

    async def remove(self, trigger_id: str) -> None:
        """Remove a trigger; see ``Triggers.remove``."""
        await self._do("remove", trigger_id=trigger_id)

    async def fire(self, trigger_id: str, *, idempotency_key: str = "") -> ExecutionId:
        """Start an execution now; see ``Triggers.fire``."""
        found = await self._do("fire", trigger_id=trigger_id, idempotency_key=idempotency_key)
        return str(found["execution_id"])

    async def backfill(self, trigger_id: str, begin: str, end: str) -> list[ExecutionId]:
        """Start the executions of a span; see ``Triggers.backfill``."""
        span = {"trigger_id": trigger_id, "from": begin, "to": end}
        found: JsonObject = await run_async(self._transport, ask(_request("backfill", None, span)))
        return _started(found)

    async def _do(
        self, action: TriggerAction, *, body: JsonObject | None = None, **query: str
    ) -> JsonObject:
        found: JsonObject = await run_async(self._transport, ask(_request(action, body, query)))
        return found


def _new(  # noqa: PLR0913 - the parameters of the endpoint
    descriptor_id: str,
    cron: str | None,
    context: JsonObject | None,
    trigger_id: str | None,
    fields: dict[str, Any],
    *,
    replace: bool,
) -> JsonObject:
    body: JsonObject = {"descriptor_id": descriptor_id, "context": context or {}}
    if cron is not None:
        body["cron"] = cron
    if trigger_id is not None:
        body["id"] = trigger_id
    if replace:
        body["replace"] = True
    return body | {name: value for name, value in fields.items() if value is not None}


def _request(
    action: TriggerAction, body: JsonObject | None, query: dict[str, str]
) -> TriggerRequest:
    given = tuple((name, value) for name, value in query.items() if value)
    return TriggerRequest(action=action, query=given, body=body)


def _listed(page: JsonObject) -> list[JsonObject]:
    found: Any = page["triggers"]
    return list(found)


def _started(found: JsonObject) -> list[ExecutionId]:
    ids: Any = found["execution_ids"]
    return list(ids)
