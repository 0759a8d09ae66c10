"""Rules of mappings that are passed over are told to the author: once, and without values."""

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest

from rillflow.core.mapping_warnings import Application
from rillflow.core.state import ExecutionState
from rillflow.ids import ExecutionId, TaskName, new_execution_id
from rillflow.jsontypes import encode_json
from rillflow.language.mapping.ineffective_rules import IneffectiveRule, Kind
from rillflow.ports.executions import Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.owner.mapping_log import MOST_A_MINUTE, MappingLog
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores import open_store
from tests.loopback import NOW_MS, ManualClock
from tests.submissions import submission_event

SECRET: Final = "hunter2"
FLOW: Final = """
workspace: rules
dagName: work
type: flow
callback:
  resourceName: http://127.0.0.1:1/told
  inputMappings: [{ source: $.context.password, target: "$.input..told" }]
tasks:
  - name: each
    category: foreach
    iterationMapping: { collection: $.input.items, item: item }
    inputMappings: [{ source: $.context.items, target: $.input.items }]
    tasks:
      - name: inner
        category: pass
        inputMappings:
          - { source: $.context.item, target: "$.input[?(" }
          - { source: hunter2, target: $.context }
          - { source: $.context.item, transform: "source + no_such_name(1)", target: $.input.sum }
          - { source: $.context.item, target: $.input.good }
"""


class Gateway:
    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        pass


class Runner:
    """Runs executions of the definition."""

    def __init__(self) -> None:
        self.store = open_store("memory:")
        clock = SystemClock()
        self.executions = LocalExecutions(store=self.store, gateway=Gateway(), clock=clock)

    async def run(self, number: int) -> ExecutionId:
        added = await add_descriptor(self.store, "rules", "work", "release", FLOW, at_ms=NOW_MS)
        entropy = number.to_bytes(10, "big")
        execution_id = new_execution_id("rules", "work", at_ms=NOW_MS, entropy=entropy)
        event = submission_event(
            execution_id,
            added.version or "",
            at_ms=NOW_MS,
            data=encode_json({"items": [SECRET, SECRET, SECRET], "password": SECRET}),
        )
        call = Submission(business="rules", feature="work", event=event)
        (await self.executions.call(call)).raise_for_error()
        await self.executions.host.settled(execution_id)
        return execution_id


@pytest.fixture(name="runner")
async def _runner() -> AsyncIterator[Runner]:
    runner = Runner()
    await runner.store.open()
    await runner.executions.start()
    yield runner
    await runner.executions.stop()


def _told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    records = [each for each in caplog.records if each.getMessage() == "mapping_passed_over"]
    assert all(record.levelno == logging.WARNING for record in records)
    return [vars(record) for record in records]


async def test_each_rule_is_told_once_with_its_task_and_its_text(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    first = await runner.run(1)
    told = _told(caplog)
    assert [(each["task"], each["rule"]) for each in told] == [
        ("inner", "$.context.item -> $.input[?("),
        ("inner", "(literal) -> $.context"),
        ("inner", "$.context.item (transform) -> $.input.sum"),
        ("", "$.context.password -> $.input..told"),
    ]
    assert {each["execution_id"] for each in told} == {first}
    await runner.run(2)
    assert len(_told(caplog)) == len(told)


def state_of(workspace: str) -> ExecutionState:
    execution_id = new_execution_id(workspace, "work", at_ms=NOW_MS, entropy=bytes(10))
    return ExecutionState(execution_id=execution_id, definition_id=workspace, host="")


def application(rules: Sequence[IneffectiveRule]) -> Application:
    return Application(TaskName("t"), TaskName("t"), "inputMappings", tuple(rules))


def test_of_a_workspace_so_many_rules_are_told_in_a_minute_and_those_of_others_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    log = MappingLog(clock)
    many = [
        IneffectiveRule(
            number, f"rule {number}", Kind.TRANSFORM_FAILED, "because", "ExpressionError"
        )
        for number in range(MOST_A_MINUTE + 5)
    ]
    for _ in range(3):
        log.note(state_of("busy"), [application(many)])
    assert len(_told(caplog)) == MOST_A_MINUTE
    log.note(state_of("shop"), [application(many[:1])])
    assert len(_told(caplog)) == MOST_A_MINUTE + 1
    clock.forward(61)
    log.note(state_of("busy"), [application(many)])
    assert len(_told(caplog)) == len(many) + 1


async def test_no_value_is_told(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await runner.run(1)
    facts = [str(value) for each in _told(caplog) for value in each.values()]
    assert facts
    assert not [fact for fact in facts if SECRET in fact]
