"""Plays a documented workflow on the real core, and tells what came of it.

Functions answer as the example says: at once for ``task_sync``, by callback for
``task_async``. A sub-flow is a play of its own, of a workflow that the document shows
elsewhere. Time moves only by the example's ``wait``.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from rillflow.core import view
from rillflow.core.commands import DispatchTask, NotifyParent
from rillflow.core.events import DispatchAnswered, ParentLink, RouteStep
from rillflow.core.state import GroupState
from rillflow.definition import parse_definition
from rillflow.errors import RillflowError
from rillflow.gateways.callbacks.arrivals import read_callback
from rillflow.gateways.http.requests import build_request
from rillflow.gateways.language_models import LATER, MODELS
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.testing import Scenario

Json: TypeAlias = Any

FAILS: Final = "fails"
ACCEPTED: Final = "accepted"
HIDDEN_HEADERS: Final = frozenset(
    {"accept-encoding", "user-agent", "x-call-id", "idempotency-key", "x-rillflow-attempt"}
)
_LARGEST: Final = 1 << 20


class Play:
    """One execution of a documented workflow.

    Args:
        workflow: The text of the definition.
        said: The result block.
        library: The document's workflows by ``workspace:dagName``, for sub-flows.
        parent: The play whose task started this one, and that task's command.
    """

    def __init__(
        self,
        workflow: str,
        said: Mapping[str, Json],
        library: Mapping[str, str],
        parent: "tuple[Play, DispatchTask] | None" = None,
    ) -> None:
        definition = parse_definition(workflow)
        self.id = f"{definition.workspace}:{definition.dag_name}_c_1"
        link, route = _link(parent)
        self.run = Scenario(workflow, execution_id=self.id, parent=link, route=route, check=True)
        self.calls: list[Json] = []
        self.requests: list[Json] = []
        self.notice: Json = None
        self._said = said
        self._library = library
        self._parent = parent
        self._answers = {
            task: deque(answer if isinstance(answer, list) else [answer] * 99)
            for task, answer in said.get("functions", {}).items()
        }
        self._taken = 0
        self._children: dict[str, Play] = {}

    def begin(self, data: JsonObject) -> None:
        """Submit the workflow and let everything happen that needs no time."""
        self.run.submit(data)
        self.settle()

    def step(self, kind: str, what: Json) -> None:
        """Take one step of ``then``."""
        steps: dict[str, Callable[[Json], object]] = {
            "wait": self._wait,
            "callback": lambda it: _each(it, self._call_back),
            "wake": lambda it: _each(it, self.run.wake),
            "key": lambda it: _each(it, self._succeed_by_key),
            "redo": lambda it: self.run.redo(*it),
            "redo_failed": lambda it: self.run.redo(*it, failed_only=True),
            "degrade": lambda it: _each(it, self._degrade),
            "complete": lambda it: self.run.complete(success=it == "success"),
            "cancel": lambda _: self.run.cancel(),
            "pause": lambda _: self.run.pause(),
            "resume": lambda _: self.run.resume(),
        }
        steps[kind](what)
        self.settle()

    def settle(self) -> None:
        """Answer the calls that have been made, in their order."""
        while self._taken < len(self.run.commands):
            command = self.run.commands[self._taken]
            self._taken += 1
            if isinstance(command, DispatchTask):
                self._dispatched(command)
            elif isinstance(command, NotifyParent):
                self._ended(command)

    def seen(self) -> dict[str, Json]:
        """Tell everything that a result block may say."""
        state = self.run.state
        return {
            "status": self.run.status,
            "message": state.invoke.msg,
            "context": self.run.context,
            "tasks": {name: view.status_name(task.status) for name, task in state.tasks.items()},
            "messages": {
                name: task.invoke.msg for name, task in state.tasks.items() if task.invoke.msg
            },
            "passed_over": {
                name: [warning.reason for warning in task.warnings]
                for name, task in state.tasks.items()
                if task.warnings
            },
            "groups": self._of_groups(lambda group: group.status.name),
            "identities": self._of_groups(lambda group: group.identity),
            "progress": self.run.process,
            "calls": self.calls,
            "requests": self.requests,
            "notice": self.notice,
        }

    def _of_groups(self, fact: Callable[[GroupState], Json]) -> Json:
        state = self.run.state
        return {
            name: [fact(state.groups[route]) for route in task.routes]
            for name, task in state.tasks.items()
            if task.routes
        }

    def _wait(self, seconds: float) -> None:
        end_ms = self.run.now_ms + round(seconds * 1000)
        while (due := [it.due_ms for it in self.run.timers if it.due_ms <= end_ms]) != []:
            self.run.advance((due[0] - self.run.now_ms) / 1000)
            self.settle()
        self.run.advance((end_ms - self.run.now_ms) / 1000)

    def _dispatched(self, command: DispatchTask) -> None:
        if not command.task:
            self.notice = decode_json(command.input)
            return
        if command.pattern.startswith("flow_"):
            self._start_child(command)
            return
        is_poll = command.pattern == "poll"
        what = f"GET {command.resource_name}" if is_poll else decode_json(command.input)
        call: Json = {command.task: what}
        self.calls.append({"at": self.run.now_ms // 1000, **call} if self.run.now_ms else call)
        if "requests" in self._said:
            self.requests.append(_request(command))
        base = command.task.rpartition("-")[2]
        answers = self._answers.get(command.task, self._answers.get(base))
        if answers:
            self._answer(command, answers.popleft())

    def _answer(self, command: DispatchTask, answer: Json) -> None:
        if isinstance(answer, dict) and answer.keys() == {FAILS}:
            self.run.answer(command.task, error=answer[FAILS])
        elif (
            isinstance(answer, dict) and answer.keys() == {ACCEPTED}
        ) or command.pattern == "poll":
            self._answer_asked(command, answer)
        elif (model := MODELS.get(command.resource_name.partition("://")[0])) is not None:
            body = model.body(answer, command.pattern)
            self.run.answer(command.task, body, is_outcome=command.pattern in LATER)
        elif command.pattern == "task_sync":
            self.run.answer(command.task, answer)
        else:
            self._call_back(command.task, answer)

    def _answer_asked(self, command: DispatchTask, answer: Json) -> None:
        address = answer.get(ACCEPTED)
        answered = DispatchAnswered(
            at_ms=self.run.now_ms,
            task=command.task,
            attempt=command.attempt,
            body=None if address else encode_json(answer),
            http_status=202 if address else 200,
            poll_url=address,
        )
        self.run.take(answered)

    def _call_back(self, task: str, body: Json) -> None:
        said = read_callback(
            query={"execution_id": self.id, "task_name": task},
            headers={},
            body=encode_json(body),
            max_body_bytes=_LARGEST,
        )
        details: Json = {"msg": said.message, "code": said.code}
        output = decode_json(said.output)
        self.run.finish(task, output, succeeded=said.succeeded, trigger=True, **details)

    def _succeed_by_key(self, task: str, body: Json) -> None:
        self.run.finish(task, body, key_succeeded=True)

    def _degrade(self, task: str, switches: Json) -> None:
        self.run.degrade(task, **switches)

    def _start_child(self, command: DispatchTask) -> None:
        name = command.resource_name.partition("://")[2]
        child = Play(self._library[name], self._said, self._library, (self, command))
        self._children[command.task] = child
        self.run.answer(command.task, {"execution_id": child.id})
        data = decode_json(command.input)
        child.begin(data if isinstance(data, dict) else {})
        self.calls += child.calls

    def _ended(self, command: NotifyParent) -> None:
        if self._parent is not None:
            callback = msgspec.structs.replace(command.callback, at_ms=self._parent[0].run.now_ms)
            self._parent[0].run.take(callback)


def _each(bodies: Mapping[str, Json], take: Callable[[str, Json], object]) -> None:
    for task, body in bodies.items():
        take(task, body)


def play(workflow: str, said: Mapping[str, Json], library: Mapping[str, str]) -> dict[str, Json]:
    """Play a workflow to the end of its result block; a refusal ends it early."""
    seen: dict[str, Json] = {}
    try:
        shown = Play(workflow, said, library)
        shown.begin(said.get("input") or {})
        for step in said.get("then") or ():
            [(kind, what)] = step.items()
            seen = shown.seen()
            shown.step(kind, what)
        return shown.seen()
    except RillflowError as error:
        return {**seen, "refused": {"code": error.wire_code, "message": str(error)}}


def _link(
    parent: tuple[Play, DispatchTask] | None,
) -> tuple[ParentLink | None, tuple[RouteStep, ...]]:
    if parent is None:
        return None, ()
    command = parent[1]
    facts = {"execution_id": command.execution_id, "task": command.task, "pattern": command.pattern}
    return ParentLink(attempt=command.attempt, **facts), (RouteStep(**facts),)


def _request(command: DispatchTask) -> Json:
    built = build_request(command, HttpSettings(), now_ms=0)
    shown: Json = {"request": f"{built.method} {built.url}"}
    shown["headers"] = {
        name: value for name, value in built.headers if name.lower() not in HIDDEN_HEADERS
    }
    if built.body is not None:
        is_json = shown["headers"].get("Content-Type") == "application/json"
        shown["body"] = decode_json(built.body) if is_json else built.body.decode()
    return shown
