"""What is kept of an execution nests to a fixed depth, and the stack decides no outcome.

Values are kept within the depth of JSON from outside, whatever writes them, so nothing that
walks over them can meet the end of the interpreter's stack. Where that is met all the same, the
turn has crashed: how much stack is left depends on the process, and a replay has more or less.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Final

import pytest

from rillflow.core import machine
from rillflow.core.encoding.stored_context import CONTENT_TOO_LONG, Cleaner
from rillflow.core.events import WakeUpReceived
from rillflow.core.plan import Plan
from rillflow.core.status import TaskStatus
from rillflow.definition import parse_definition
from rillflow.errors import BudgetExceededError, ExecutionError
from rillflow.jsontypes import MAX_DEPTH, JsonValue, decode_json, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.targets import Draft
from rillflow.language.versions import CURRENT, NESTING_BOUNDED
from rillflow.testing import Scenario
from tests.spec.notation import Definition, flow, pass_, scenario, susp
from tests.submissions import submission_event

WRAP: Final = [
    {"source": "$.context.v", "target": "$.context.t.n"},
    {"source": "$.context.t", "target": "$.context.v"},
]
OPEN: Final = "$.input[?(@.never == 1)]"


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(levels):
        value = [value]
    return value


def at_the_end_of_the_stack(frames: int, act: Callable[[], object]) -> None:
    """Act where the interpreter has about so many frames left."""

    def descend(depth: int) -> None:
        if depth:
            descend(depth - 1)
        else:
            act()

    descend(sys.getrecursionlimit() - len(inspect.stack(0)) - frames)


def wrapping() -> Scenario:
    """A wait whose signals each put a value one level deeper."""
    run = scenario(susp("s", OPEN, outs=WRAP))
    run.submit({"v": 1})
    return run


def test_a_signal_that_would_nest_a_value_too_deeply_is_refused() -> None:
    run = wrapping()
    for _ in range(MAX_DEPTH - 1):
        run.wake("s", {"n": 1})
    before = run.context
    with pytest.raises(ExecutionError, match="more than 200 levels exceed the limit") as error:
        run.wake("s", {"n": 1})
    assert error.value.wire_code == CONTENT_TOO_LONG
    assert run.context == before
    assert decode_json(encode_json(run.context)) == run.context


def copying(*rules: dict[str, str]) -> Definition:
    return flow(
        pass_("p", outs=list(rules), ins=[{"source": "$.context.v", "target": "$.input.v"}])
    )


@pytest.mark.parametrize(("levels", "status"), [(3, "SUCCEED"), (2, "SUCCEED"), (4, "FAILED")])
def test_a_task_that_would_write_too_deeply_fails(levels: int, status: str) -> None:
    names = "".join(f".{name}" for name in "abcdefgh"[:levels])
    run = Scenario(copying({"source": "$.output.v", "target": f"$.context{names}"}), check=True)
    run.submit({"v": nested(MAX_DEPTH - 3)})
    assert run.statuses["p"] == status
    if status == "FAILED":
        assert "exceed the limit" in str(run.task("p").invoke.msg)


def test_an_input_nests_as_deeply_as_a_context() -> None:
    rule = {"source": "$.context.v", "target": "$.input.a.b"}
    run = scenario(pass_("p", ins=[rule]))
    run.submit({"v": nested(MAX_DEPTH - 1)})
    assert run.statuses["p"] == "FAILED"


def test_rules_of_one_list_cannot_nest_deeper_between_them() -> None:
    deep = "".join(f".{'xy'[number % 2]}" for number in range(50))
    rules = [
        {"source": "$.context.v", "target": f"$.context.t{deep}"},
        {"source": "$.context.t", "target": "$.context.v"},
    ] * 40
    run = scenario(pass_("p", outs=rules))
    run.submit({"v": 1})
    assert run.statuses["p"] == "FAILED"
    assert run.task("p").warning_counts


def test_writing_at_one_place_again_and_again_nests_no_deeper() -> None:
    draft = Draft({"context": {"v": nested(190)}})
    for _ in range(1_000):
        draft.receive(3, ())
    draft.document["context"] = {"v": nested(MAX_DEPTH + 10)}
    draft.levels = 10 * MAX_DEPTH
    with pytest.raises(BudgetExceededError, match="nested deeper than 200 levels"):
        draft.receive(3, ())


def test_executions_of_before_may_be_as_deep_as_they_could() -> None:
    older = TotalBudget(language=NESTING_BOUNDED - 1)
    Cleaner(1 << 20, older).clean(nested(480))
    with pytest.raises(ExecutionError, match="more than 480 levels"):
        Cleaner(1 << 20, older).clean(nested(481))
    with pytest.raises(ExecutionError, match="more than 200 levels"):
        Cleaner(1 << 20, TotalBudget()).clean(nested(201))


def test_a_full_stack_is_a_crash_and_no_outcome() -> None:
    plan = Plan(parse_definition(encode_json(flow(susp("s", OPEN, outs=WRAP)))), "")
    event = submission_event("demo:n_c_1", at_ms=0, data=b'{"v":1}', language=CURRENT)
    wake = WakeUpReceived(at_ms=1, task="s", data=encode_json({"n": nested(150)}))
    crashed = 0

    def wake_up() -> None:
        state, _ = machine.submit(plan, event)
        assert machine.handle(plan, state, wake).refusal is None
        assert state.tasks["s"].status is TaskStatus.RUNNING

    for frames in range(12, 60, 2):  # wherever in a turn the stack ends
        try:
            at_the_end_of_the_stack(frames, wake_up)
        except RecursionError:
            crashed += 1
    assert crashed


def test_neither_paths_nor_expressions_take_a_full_stack_for_a_failure() -> None:
    nested_path = "$[?(" + "(" * 40 + "@.x" + ")" * 40 + ")]"
    steps = compile_path("$[*]" + ".a.b" * 25)
    document: JsonValue = {"x": 1}
    for _ in range(25):
        document = {"a": {"b": document}}
    deep = compile_expression("fn f(x) { if x > 40 { return 1; } return f(x + 1); } f(1)")
    for frames, act in (
        (60, lambda: compile_path(nested_path)),
        (40, lambda: steps.find([document])),
        (60, lambda: deep.evaluate({})),
    ):
        with pytest.raises(RecursionError):
            at_the_end_of_the_stack(frames, act)
    assert steps.find([document]) == [{"x": 1}]
