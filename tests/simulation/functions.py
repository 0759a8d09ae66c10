"""The functions of a run: what each attempt says follows from its name and number alone.

They answer late, twice, before they are asked to, or not until the weather clears, and
strangers call back in their name. A function whose callback is not taken calls back again.
"""

import asyncio
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from rillflow.core.events import CallbackReceived
from rillflow.errors import DefectError, StoreError, UnavailableError
from rillflow.ids import service_of
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Delivery, Executions, reply_to_error
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from tests.simulation.flows import ON_RAY, POLLED
from tests.simulation.surroundings import Surroundings
from tests.simulation.task_actors import ActorWatch, TaskActors
from tests.simulation.virtual_loop import Life

LAST_ATTEMPT: Final = 3
"""The attempt that succeeds in sure workflows, whose tasks have two retries."""
PATIENCE: Final = 40
POLL: Final = "poll"
BUSY: Final = b'{"error_detail":{"retry_interval_seconds":1}}'


class CallWatch(ActorWatch, Protocol):
    """Who is told of every call of a function."""

    def called(self, request: DispatchRequest) -> None:
        """Hear that a call has begun."""

    def told_listener(self, request: DispatchRequest) -> None:
        """Hear that the completion callback reached its listener."""

    def sent_away(self, request: DispatchRequest) -> None:
        """Hear that a callback was refused, because the execution has ended."""


class Outcome(NamedTuple):
    """What an attempt does: how it answers, and how long it takes.

    ``early`` calls back before it answers, one that ``signs`` says for which attempt.
    ``is_key`` calls back with a first success that lets others go on. ``busy_s`` is for
    how long the function wants to be left alone, ``questions`` how often it answers
    "not yet" when it is asked for its result.
    """

    succeeds: bool
    refuses: bool
    takes_s: float
    early: bool
    repeats: int
    signs: bool
    is_key: bool
    busy_s: int
    questions: int


class Functions:
    """The gateway of a run, and the functions behind it."""

    def __init__(
        self,
        around: Surroundings,
        *,
        life: Life,
        clock: Clock,
        executions: Executions,
        watch: CallWatch,
        sure: bool,
        looked_after: bool,
    ) -> None:
        self._around = around
        self._life = life
        self._clock = clock
        self._executions = executions
        self._watch = watch
        self._sure = sure
        self._looked_after = looked_after
        self._patience = asyncio.Event()
        self._inputs: dict[tuple[str, str, int], bytes] = {}
        self.task_actors = TaskActors(around, life, watch, self._work)

    def speak(self) -> None:
        """Let every function answer that has not answered until now."""
        self._patience.set()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one call; see the ``Gateway`` port."""
        around = self._around
        around.note("calls", f"{request.execution_id[-4:]} {request.task} #{request.attempt}")
        self._watch.called(request)
        if request.pattern == "completion":
            return await self._listen(request)
        if request.resource_name.startswith(ON_RAY):
            return await self.task_actors.outcome(request)
        outcome = self._outcome(request)
        if request.pattern == POLL:
            return await self._tell(request)
        self._inputs[request.key] = request.input
        if request.pattern == "task_async" and not (outcome.refuses or is_polled(request)):
            delay_s = 0.0 if outcome.early else outcome.takes_s
            around.loop.spawn(self._life, self._call_back(request, outcome, delay_s))
        if around.happens(around.faults.mute):
            await self._patience.wait()
        await asyncio.sleep(outcome.takes_s if request.pattern == "task_sync" else 0.01)
        return self._answer(request, outcome)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _work(self, request: DispatchRequest) -> DispatchAnswer:
        """Run on Ray, and return the outcome."""
        around, outcome = self._around, self._outcome(request)
        await asyncio.sleep(outcome.takes_s)
        if around.happens(around.faults.mute):
            await self._patience.wait()
        if outcome.refuses:
            body = encode_json({"error": {"type": "ValueError", "message": "no"}})
            return _answer_of(request, error="ValueError: no", body=body, is_outcome=True)
        said = _said(request, request.input, outcome)
        return _answer_of(request, body=encode_json(said), is_outcome=True)

    async def _tell(self, request: DispatchRequest) -> DispatchAnswer:
        """Answer a question for the result of an attempt: not yet, or the result."""
        around = self._around
        await around.pause(0.001, 0.1)
        if around.faults.mute and around.random.random() < 0.5:
            return _answer_of(request, error="http 503")
        outcome = self._outcome(request)
        if request.poll <= outcome.questions:
            return _answer_of(request, http_status=202, body=b"{}")
        said = _said(request, self._inputs[request.key], outcome)
        return _answer_of(request, body=encode_json(said))

    async def _listen(self, request: DispatchRequest) -> DispatchAnswer:
        around = self._around
        await around.pause(0.001, 0.2)
        if around.faults.mute and around.random.random() < 0.2:
            return _answer_of(request, error="http 503")
        self._watch.told_listener(request)
        return _answer_of(request, body=b"ok")

    def _outcome(self, request: DispatchRequest) -> Outcome:
        """Draw what an attempt does from its name, so that every repetition does the same."""
        business, feature = service_of(request.execution_id)
        seed = f"{self._around.seed}:{business}:{feature}:{request.task}:{request.attempt}"
        random = Random(seed)
        fails = random.random() < 0.25 and not (self._sure and request.attempt >= LAST_ATTEMPT)
        return Outcome(
            succeeds=not fails,
            refuses=fails and random.random() < 0.4,
            takes_s=random.choice([0.002, 0.05, 0.05, 2.5]) * random.random(),
            early=random.random() < 0.3,
            repeats=random.choice([0, 0, 1, 2]),
            signs=self._sure or random.random() < 0.8,
            is_key=not self._sure and random.random() < 0.2,
            busy_s=random.choice([0, 0, 0, 1, 2]),
            questions=random.choice([0, 0, 1, 3]),
        )

    def _answer(self, request: DispatchRequest, outcome: Outcome) -> DispatchAnswer:
        if outcome.refuses:
            return _answer_of(request, error="http 500", body=BUSY)
        if is_polled(request) or self._says_where_to_ask(request, outcome):
            address = f"http://gateway/results/{request.task}"
            return _answer_of(request, http_status=202, poll_url=address)
        if request.pattern == "task_sync":
            return _answer_of(request, body=encode_json(_said(request, request.input, outcome)))
        return _answer_of(request, body=b"{}")

    def _says_where_to_ask(self, request: DispatchRequest, outcome: Outcome) -> bool:
        """Tell whether a function that calls back can be asked too; some cannot, and fail."""
        asked = self._looked_after and request.pattern == "task_async"
        return asked and (self._sure or outcome.questions > 0)

    async def _call_back(self, request: DispatchRequest, outcome: Outcome, delay_s: float) -> None:
        around = self._around
        await asyncio.sleep(delay_s)
        if around.happens(around.faults.mute):
            await self._patience.wait()
        for number in range(-1 if outcome.is_key else 0, 1 + outcome.repeats):
            callback = CallbackReceived(
                at_ms=self._clock.now_ms(),
                task=request.task,
                succeeded=outcome.succeeds or number < 0,
                key_succeeded=number < 0,
                output=encode_json(_said(request, request.input, outcome)),
                attempt=request.attempt if outcome.signs else None,
                ext=encode_json({"callback": number}),
            )
            await self._insist(request, callback, outcome.busy_s)
            if around.faults.lost and around.random.random() < 0.2:
                await self._lie(request)
            await around.pause(0.0, 1.0)

    async def _lie(self, request: DispatchRequest) -> None:
        """Call back as somebody else would: for an attempt that never was, or is over."""
        attempt = request.attempt + self._around.random.choice([-1, 7])
        lie = CallbackReceived(
            at_ms=self._clock.now_ms(),
            task=self._around.random.choice([request.task, "Nobody"]),
            succeeded=False,
            output=b'{"said":"a lie"}',
            attempt=attempt,
        )
        try:
            await self._executions.call(Delivery(execution_id=request.execution_id, event=lie))
        except (StoreError, UnavailableError, DefectError):
            return

    async def _insist(
        self, request: DispatchRequest, callback: CallbackReceived, busy_s: int
    ) -> None:
        """Deliver until it is taken; a refusal may be a misunderstanding, so try it again."""
        delivery = Delivery(execution_id=request.execution_id, event=callback, hint_s=busy_s)
        for _ in range(PATIENCE):
            try:
                reply = await self._executions.call(delivery)
            except (StoreError, UnavailableError, DefectError) as error:
                reply = reply_to_error(error)
            if reply.error is None:
                return
            if reply.error.endswith("is finished"):
                self._watch.sent_away(request)
                return
            await self._around.pause(0.5, 2.0)


def _said(request: DispatchRequest, given: bytes, outcome: Outcome) -> JsonObject:
    document = decode_json(given)
    x = document.get("x") if isinstance(document, dict) else None
    result = "SUCCESS" if outcome.succeeds else "FAILED"
    return {"result_type": result, "said": f"{request.task} {x}"}


def is_polled(request: DispatchRequest) -> bool:
    """Tell whether the result of an attempt is to be asked for."""
    return request.task.rpartition("-")[2].startswith(POLLED)


def _answer_of(request: DispatchRequest, **facts: Any) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=request.execution_id, task=request.task, attempt=request.attempt, **facts
    )
