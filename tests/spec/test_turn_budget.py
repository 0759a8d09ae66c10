"""All that one event makes an execution evaluate has one budget, which its submission sets.

What exceeds it fails its task, whatever its rules tolerate, and the execution goes on by its
rules. A replay under other settings comes to the same end.
"""

from functools import partial
from typing import Any, Final

import pytest

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.events import DispatchAnswered, ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.turn import Turn
from rillflow.definition import parse_definition
from rillflow.errors import BudgetExceededError, ExecutionError, WorkLimitError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.language.budget import TURN_MAX_BYTES, TURN_MAX_STEPS, Budget, TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.mappings import compile_mappings
from rillflow.runtime.commands.subflows import inherited_from
from rillflow.settings import Settings
from rillflow.testing.scenario import Scenario
from tests.submissions import submission_event

HEAD: Final = "workspace: demo\ndagName: work\ntype: flow\ntasks:\n"
LOOP: Final = "let i = 0; while i < 2000 { i = i + 1; } return i;"
STEPS: Final = "everything that was evaluated at once took more than 50000 steps; turn_max_steps"
BYTES: Final = "took more than 1048576 bytes; turn_max_bytes"


def looping(*, rules: int, more: str = "") -> str:
    """Return a pass task with rules that loop, each well within its own budget."""
    listed = ", ".join(
        f'{{transform: "{LOOP}", target: $.input.n{number}}}' for number in range(rules)
    )
    return f"- {{name: A, category: pass, inputMappings: [{listed}]{more}}}\n"


def test_many_rules_that_each_take_what_they_may_fail_their_task() -> None:
    flow = Scenario(HEAD + looping(rules=20), turn_max_steps=50_000, check=True)
    flow.submit({})
    assert flow.status == "FAILED"
    assert (flow.task("A").invoke.msg or "").startswith(STEPS)


def test_few_of_them_do_not() -> None:
    flow = Scenario(HEAD + looping(rules=3), turn_max_steps=50_000, check=True)
    flow.submit({})
    assert flow.status == "SUCCEED"


def test_the_default_is_some_seconds_at_most_and_names_its_setting() -> None:
    flow = Scenario(HEAD + looping(rules=400), check=True)
    flow.submit({})
    assert flow.status == "FAILED"
    message = flow.task("A").invoke.msg or ""
    assert f"more than {TURN_MAX_STEPS} steps; turn_max_steps sets the limit" in message


def test_each_event_has_a_budget_of_its_own() -> None:
    waiting = (
        "- {name: W, category: function, pattern: task_sync, resourceName: http://f/, next: B}\n"
    )
    second = looping(rules=3).replace("name: A", "name: B")
    first = looping(rules=3, more=", next: W")
    flow = Scenario(HEAD + first + waiting + second, turn_max_steps=50_000, check=True)
    flow.submit({})
    flow.answer("W", {})
    assert flow.status == "SUCCEED"


def test_a_task_that_tolerates_failures_is_skipped_and_the_others_run() -> None:
    rest = "- {name: B, category: pass}\n"
    text = HEAD + looping(rules=20, more=", tolerance: true") + rest
    flow = Scenario(text, turn_max_steps=50_000, check=True)
    flow.submit({})
    assert flow.status == "SUCCEED"
    assert flow.task("A").status.name == "SKIPPED"


def test_what_catches_the_failure_has_enough_left_in_the_same_turn() -> None:
    rescue = (
        "- {name: R, category: pass, inputMappings:"
        " [{source: $.input.error.msg, target: $.input.said}],"
        " outputMappings: [{source: $.output.said, target: $.context.said}]}\n"
    )
    text = HEAD + looping(rules=20, more=", next: R, catch: R") + rescue
    flow = Scenario(text, turn_max_steps=50_000, check=True)
    flow.submit({})
    assert flow.status == "SUCCEED"
    assert str(flow.context["said"]).startswith(STEPS)


EACH: Final = """
- name: E
  category: foreach
  iterationMapping: {collection: $.input.items, item: item}
  inputMappings: [{source: $.context.items, target: $.input.items}]
  tasks:
  - {name: P, category: pass, inputMappings: [{transform: "%s", target: $.input.n}]}
"""


def test_the_groups_of_a_foreach_share_the_budget() -> None:
    flow = Scenario(HEAD + EACH.replace("%s", LOOP), turn_max_steps=50_000, check=True)
    flow.submit({"items": list(range(40))})
    assert flow.status == "FAILED"
    ended = [flow.task(f"E_{index}-P").status.name for index in range(40)]
    assert ended[:3] == ["SUCCEED"] * 3
    assert ended[-1] == "FAILED"


def test_conditions_count_too() -> None:
    choices = ", ".join(
        f"{{condition: \"$.input.items[?(@.a == '{number}')]\", tasks: [{{name: P{number},"
        " category: pass}]}"
        for number in range(60)
    )
    text = f"""{HEAD}
- name: C
  category: choice
  inputMappings: [{{source: $.context.items, target: $.input.items}}]
  choices: [{choices}]
"""
    flow = Scenario(text, turn_max_steps=50_000, check=True)
    flow.submit({"items": [{"a": str(number)} for number in range(1000)]})
    assert flow.status == "FAILED"
    assert (flow.task("C").invoke.msg or "").startswith(STEPS)


@pytest.mark.parametrize(
    "mapping",
    [
        "{transform: 'repeat(200, context.text)', target: $.input.a}",
        "{transform: 'repeat(200, context.keyed)', target: $.input.a}",
        "{source: $.context.text, target: '$.input.a[90000][90000][90000]'}",
    ],
)
def test_what_is_large_as_json_fails_before_it_is_written(mapping: str) -> None:
    text = f"{HEAD}- {{name: A, category: pass, inputMappings: [{mapping}]}}\n"
    flow = Scenario(text, turn_max_bytes=1 << 20, check=True)
    flow.submit({"text": "x" * 10_000, "keyed": {"k" * 10_000: 1}})
    assert flow.status == "FAILED"
    assert BYTES in (flow.task("A").invoke.msg or "")


def test_calls_of_many_groups_with_one_large_value_are_stopped() -> None:
    text = f"""{HEAD}
- name: E
  category: foreach
  iterationMapping: {{collection: $.input.items, item: item}}
  inputMappings:
  - {{source: $.context.items, target: $.input.items}}
  tasks:
  - {{name: F, category: function, pattern: task_sync, resourceName: "http://f/",
      parameters: {{large: {"x" * 20_000}}}}}
"""
    flow = Scenario(text, turn_max_bytes=1 << 20, check=True)
    flow.submit({"items": list(range(200))})
    assert 10 < len(flow.dispatched) < 60
    assert BYTES in (flow.task("E_199-F").invoke.msg or "")


def test_a_large_text_counts_as_input_as_a_large_list_does() -> None:
    rules = ", ".join(
        f"{{source: $.context.text, target: $.input.t{number}}}" for number in range(20)
    )
    flow = Scenario(f"{HEAD}- {{name: A, category: pass, inputMappings: [{rules}]}}\n")
    flow.submit({"text": "x" * 500_000})
    assert "exceed the limit" in (flow.task("A").invoke.msg or "")


def test_the_notice_of_the_end_has_a_budget_of_its_own() -> None:
    text = (
        "workspace: demo\ndagName: work\ntype: flow\n"
        "callback: {resourceName: 'http://n/', inputMappings:"
        " [{source: $.context.a, target: $.input.a}]}\ntasks:\n" + looping(rules=20)
    )
    flow = Scenario(text, turn_max_steps=50_000, check=True)
    flow.submit({"a": 7})
    assert flow.status == "FAILED"
    assert flow.state.completion is not None
    said = decode_json(flow.state.completion)
    assert isinstance(said, dict)
    assert said["a"] == 7


def test_conditions_of_a_retry_do_not_bring_down_an_event() -> None:
    long = "$.output." + "a" * 2_000
    text = f"""{HEAD}
- name: F
  category: function
  pattern: task_sync
  resourceName: http://f/
  retry: {{maxRetries: 2, conditions: ["{long}"]}}
"""
    flow = Scenario(text, turn_max_steps=1_000, check=True)
    flow.submit({})
    flow.answer("F", error="broken")
    assert flow.status == "FAILED"
    assert flow.task("F").invoke.msg == "broken"


# -- replays ------------------------------------------------------------------------

PLAN: Final = Plan(parse_definition(HEAD + looping(rules=20)), "work")


def submitted(**limits: Any) -> ExecutionSubmitted:
    return submission_event(
        "demo:work_c_00000000-0000-7000-8000-000000000000",
        PLAN.definition_id,
        data=encode_json({}),
        **limits,
    )


def test_limits_are_in_the_record_and_in_the_state() -> None:
    event = submitted(turn_max_steps=50_000, turn_max_bytes=1 << 21)
    assert codec.decode_event(codec.encode_event(event)) == event
    state, _ = machine.submit(PLAN, event)
    kept = codec.decode_state(codec.encode_state(state))
    assert (kept.turn_max_steps, kept.turn_max_bytes) == (50_000, 1 << 21)
    inherited = inherited_from(kept).settings
    assert (inherited["turn_max_steps"], inherited["turn_max_bytes"]) == (50_000, 1 << 21)


def test_a_replay_of_a_record_of_an_older_release_has_no_limit() -> None:
    state, _ = machine.submit(PLAN, submitted())
    assert state.status.name == "SUCCEED"
    limited, _ = machine.submit(PLAN, submitted(turn_max_steps=50_000))
    assert limited.status.name == "FAILED"


def test_the_same_event_stops_at_the_same_step() -> None:
    def status(steps: int) -> str:
        state, _ = machine.submit(PLAN, submitted(turn_max_steps=steps))
        return str(state.status.name)

    low, high = 1_000, TURN_MAX_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if status(middle) == "SUCCEED" else (middle, high)
    assert (status(low), status(high)) == ("FAILED", "SUCCEED")


# -- the budget itself --------------------------------------------------------------


def test_expressions_of_one_total_take_from_it() -> None:
    total = TotalBudget(steps=100_000)
    expression = compile_expression(LOOP)
    expression.evaluate({}, total=total)
    took = 100_000 - total.steps
    expression.evaluate({}, total=total)
    assert total.steps == 100_000 - 2 * took > 0


def test_an_expression_beyond_its_own_budget_is_told_so_and_takes_what_it_had() -> None:
    total = TotalBudget()
    with pytest.raises(BudgetExceededError, match="took more than 400000 steps"):
        compile_expression("while true { }").evaluate({}, total=total)
    assert 0 < TURN_MAX_STEPS - total.steps <= 400_010


@pytest.mark.parametrize(("take", "left"), [("spend", "steps"), ("make", "memory_bytes")])
def test_a_twentieth_is_given_out_once(take: str, left: str) -> None:
    total = TotalBudget(steps=1_000, memory_bytes=1_000)
    for wanted, remaining in ((1_001, 50), (51, 0), (1, 0)):
        with pytest.raises(WorkLimitError):
            getattr(total, take)(wanted)
        assert getattr(total, left) == remaining


def test_paths_take_from_the_total_and_say_whose_limit_it_was() -> None:
    total = TotalBudget(steps=500)
    path = compile_path("$..*")
    path.find([1] * 100, total)
    assert total.steps < 500
    with pytest.raises(WorkLimitError, match="more than 500 steps"):
        path.find([1] * 1_000, total)
    with pytest.raises(BudgetExceededError, match="visits more than 1000000 values"):
        path.find([[1] * 1_000] * 1_000)


def test_rules_of_an_unlimited_total_take_what_they_like() -> None:
    total = TotalBudget(None, None)
    compile_mappings(()).apply(context={}, input={}, output={}, budget=total)
    total.spend(1 << 50)
    total.make(1 << 50)


def test_the_state_of_an_execution_says_what_a_turn_may_take() -> None:
    state = ExecutionState(execution_id="a", definition_id="", host="", turn_max_steps=7)
    with pytest.raises(WorkLimitError):
        Turn(PLAN, state, 0).budget.spend(8)


def test_keys_of_maps_count_for_the_total_and_values_that_are_refused_do_too() -> None:
    total = TotalBudget(memory_bytes=10_000)
    stored_context({"a": {"k" * 5_000: 1}}, {}, 1_000, total)
    assert total.memory_bytes == 5_000
    with pytest.raises(ExecutionError, match="exceed the limit"):
        stored_context({"a": ["x" * 2_000]}, {}, 1_000, total)
    assert total.memory_bytes == 4_000


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Settings()
    assert settings.turn_max_steps == TURN_MAX_STEPS
    assert settings.turn_max_bytes == TURN_MAX_BYTES


def test_a_budget_of_a_path_settles_once() -> None:
    total = TotalBudget(steps=100)
    budget = Budget(total)
    budget.spend(10)
    budget.settle()
    budget.settle()
    assert total.steps == 90


def test_the_completion_event_is_handled_within_its_budget() -> None:
    text = f"""{HEAD}
- name: F
  category: function
  pattern: task_sync
  resourceName: http://f/
  outputMappings: [{", ".join([f'{{transform: "{LOOP}", target: $.context.n}}'] * 20)}]
"""
    plan = Plan(parse_definition(text), "work")
    state, _ = machine.submit(plan, submitted(turn_max_steps=50_000))
    answer = DispatchAnswered(at_ms=2, task="F", attempt=1, body=b'{"a":1}', http_status=200)
    machine.handle(plan, state, answer)
    assert state.status.name == "FAILED"
    assert (state.tasks["F"].invoke.msg or "").startswith(STEPS)


# -- portions -------------------------------------------------------------------------


FILTERS: Final = "$.context.l[?(@.a > 3 && @.b in $.context.m)].a"
MIXED: Final = f"""
- name: A
  category: pass
  inputMappings:
    - {{source: "{FILTERS}", target: $.input.found}}
    - {{transform: "{LOOP}", target: $.input.n}}
    - {{source: $.context.l, target: $.input.l}}
    - {{transform: "map(seq.list(1, 2, 3), lambda(x) -> {LOOP} end)", target: $.input.o}}
- name: B
  category: foreach
  inputMappings: [{{source: $.context.l, target: $.input.l}}]
  iterationMapping: {{collection: $.input.l, item: x}}
  tasks:
    - name: C
      category: pass
      inputMappings: [{{source: "{FILTERS.replace("context.l", "context.x")}", target: $.input.y}}]
"""
MIXED_DATA: Final[Any] = {"l": [{"a": n, "b": n % 7} for n in range(90)], "m": [1, 2, 3]}


@pytest.mark.parametrize("limit", [1_000, 5_000, 20_000, 40_000, 80_000, 200_000])
@pytest.mark.parametrize("portion", [1, 7, 250])
def test_dividing_a_turn_changes_nothing_of_what_it_comes_to(limit: int, portion: int) -> None:
    portions = 0

    def count(_: TotalBudget) -> None:
        nonlocal portions
        portions += 1

    plan = Plan(parse_definition(HEAD + MIXED), "definition")
    event = submission_event(
        "demo:work_c_1", data=encode_json(MIXED_DATA), turn_max_steps=limit, turn_max_bytes=1 << 24
    )
    whole, handled = machine.submit(plan, event)
    turns = partial(Turn, on_portion=count, portion_steps=portion)
    divided, same = machine.submit(plan, event, turns)
    assert (same.steps, same.commands) == (handled.steps, handled.commands)
    assert codec.encode_state(divided) == codec.encode_state(whole)
    assert portions >= handled.steps // (8 * portion)
