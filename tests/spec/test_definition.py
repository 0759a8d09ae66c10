"""A definition is read with Rill Flow's coercions; what does not fit is refused with its place."""

import pytest

from rillflow.definition.model import ChoiceTask, FunctionTask, PassTask, ReturnTask, SwitchTask
from rillflow.definition.parse import parse_callback, parse_definition
from tests.spec.definition_texts import FUNCTION, HEADER, PASS, flow, nested, only_task, refusal_of


def switch_of(rest: str) -> SwitchTask:
    tasks = "".join(f"- {{name: {name}, category: pass}}\n" for name in "BCD")
    task = (flow(f"tasks:\n- {{name: A, category: switch, {rest}}}\n{tasks}").tasks or ())[0]
    assert isinstance(task, SwitchTask)
    return task


@pytest.mark.case("DD-08")
def test_unknown_keys_are_ignored_and_mapping_names_need_no_dollar() -> None:
    task = only_task(f"{FUNCTION}, group: x, inputMappings: [{{source: url, target: url}}]")

    assert task.category == "function"
    assert task.input_mappings is not None
    assert task.input_mappings[0].target == "url"


@pytest.mark.case("DD-06")
def test_namespace_and_service_stand_in_for_workspace_and_dag_name() -> None:
    definition = parse_definition(
        f"namespace: testBusinessId\nworkspace: ' '\nservice: mca\ntype: flow\n{PASS}"
    )

    assert definition.workspace == "testBusinessId"
    assert definition.dag_name == "mca"
    assert definition.type == "flow"


@pytest.mark.case("DD-07")
def test_workspace_wins_over_namespace() -> None:
    definition = parse_definition(
        f"workspace: rillflow\nnamespace: rillflowMca\nservice: mca\ntype: flow\n{PASS}"
    )

    assert definition.workspace == "rillflow"
    assert definition.dag_name == "mca"


@pytest.mark.case("DD-09")
def test_foreach_and_choice_nest() -> None:
    definition = parse_definition(
        nested("choice", 2).replace("Leaf, category: pass", "Leaf, " + FUNCTION)
    )
    (outer,) = definition.tasks or ()

    assert isinstance(outer, ChoiceTask)
    assert outer.choices is not None
    assert outer.choices[0].tasks is not None
    assert isinstance(outer.choices[0].tasks[0], ChoiceTask)


def test_a_protocol_stands_in_for_a_blank_resource_name() -> None:
    task = only_task("category: function, pattern: task_sync, resourceProtocol: http")

    assert isinstance(task, FunctionTask)
    assert task.resource_name == "http://"


@pytest.mark.case("DD-18")
def test_stream_types_and_mappings_are_read_in_order() -> None:
    (task, _) = (
        flow(f"""tasks:
- {{name: A, {FUNCTION}, inputType: stream, outputType: block, next: B, inputMappings: [
    {{source: $.context.b, target: $.input.b}}, {{source: $.context.a, target: $.input.a}}],
    outputMappings: [{{source: $.output.c, target: $.context.c, tolerance: no}}]}}
- {{name: B, category: pass}}
""").tasks
        or ()
    )

    assert (task.input_type, task.output_type, task.next) == ("stream", "block", "B")
    assert [rule.source for rule in task.input_mappings or ()] == ["$.context.b", "$.context.a"]
    assert [rule.tolerance for rule in task.input_mappings or ()] == [None, None]
    assert [rule.tolerance for rule in task.output_mappings or ()] == [False]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.10", "1.10"),
        ("007", "007"),
        ("true", "true"),
        ("2001-01-01", "2001-01-01"),
        (".nan", ".nan"),
        ("'null'", "null"),
        ("''", ""),
        ("null", None),
        ("!!str null", "null"),
        ("!!null x", None),
        ("!!int 007", "007"),
        ("~", None),
        ("", None),
    ],
)
def test_a_text_field_keeps_the_source_text(written: str, read: str | None) -> None:
    assert flow(f"version: {written}\n{PASS}").version == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("yes", True),
        ("off", False),
        ("'true'", True),
        ("'FALSE'", False),
        ("2", True),
        ("''", False),
    ],
)
def test_a_boolean_field_takes_several_forms(written: str, read: bool) -> None:  # noqa: FBT001 - a row of the table
    assert only_task(f"category: pass, tolerance: {written}").tolerance is read


@pytest.mark.parametrize(
    ("written", "read"), [("3", 3), ("'3'", 3), ("010", 8), ("'010'", 10), ("2.9", 2), ("''", None)]
)
def test_a_number_field_takes_several_forms(written: str, read: int | None) -> None:
    task = only_task(f"{FUNCTION}, retry: {{maxRetryTimes: {written}, multiplier: {written}}}")

    assert isinstance(task, FunctionTask)
    assert task.retry is not None
    assert task.retry.max_retries == read


def test_our_own_additions_are_read() -> None:
    definition = flow(
        f"isolation: dedicated\ntasks:\n- {{name: A, {FUNCTION},"
        " retry: {maxIntervalInSeconds: 60, multiplier: '1.5', jitter: 0.25}}\n"
    )
    (task,) = definition.tasks or ()

    assert definition.isolation == "dedicated"
    assert isinstance(task, FunctionTask)
    assert task.retry is not None
    assert (task.retry.max_interval_s, task.retry.multiplier, task.retry.jitter) == (60, 1.5, 0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        "defaultContext: {a: {b: 1}}",
        "defaultContext: text",
        "version: [1]",
        "callback: text",
        "tasks: text",
        "tasks: {name: A}",
        "tasks: [text]",
        "tasks: [null]",
        "tasks: [{name: A, category: pass, tolerance: maybe}]",
        "tasks: [{name: A, category: pass, tolerance: 1.5}]",
        "tasks: [{name: A, category: pass, tolerance: []}]",
        "tasks: [{name: A, category: pass, progress: {weight: many}}]",
        "tasks: [{name: A, category: pass, progress: {weight: 99999999999}}]",
        "tasks: [{name: A, category: pass, progress: {weight: yes}}]",
        "tasks: [{name: A, category: return, conditions: $.input.x}]",
        "tasks: [{name: A, category: return, conditions: [null]}]",
        "tasks: [{name: A, category: pass, inputMappings: [null]}]",
        "tasks: [{name: A, category: function, retry: {multiplier: 1e400}}]",
        "tasks: [{name: A, category: function, retry: {multiplier: x}}]",
        f"tasks: [{{name: A, category: function, retry: {{multiplier: {'9' * 400}}}}}]",
        "tasks: [{name: A, category: switch}]",
        "tasks: [{name: A, category: switch, switches: }]",
        "tasks: [{name: A, category: pass, input: {a: .nan}}]",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(wrong: str) -> None:
    code, message = refusal_of(f"{HEADER}{wrong}\n")

    assert code == 30402
    assert "(line 4, column" in message


@pytest.mark.parametrize("key", ["callback", "callback_config", "callbackConfig"])
def test_the_callback_has_three_spellings(key: str) -> None:
    definition = flow(f"{key}: {{resourceName: 'http://x', fullDAGInfo: true}}\n{PASS}")

    assert definition.callback is not None
    assert definition.callback.resource_name == "http://x"
    assert definition.callback.full_dag_info
    assert not definition.callback.full_context


@pytest.mark.parametrize("key", ["timeline", "timer"])
def test_the_timeline_of_a_definition_has_two_spellings(key: str) -> None:
    definition = flow(f"{key}: {{timeoutInSeconds: 5}}\n{PASS}")

    assert definition.timeline is not None
    assert definition.timeline.timeout_s == "5"


@pytest.mark.parametrize("category", ["pass", "return"])
def test_pass_and_return_have_no_timeout(category: str) -> None:
    task = only_task(
        f"category: {category}, timeline: {{timeoutInSeconds: 5, suspenseIntervalSeconds: 1}}"
    )

    assert isinstance(task, PassTask | ReturnTask)
    assert task.timeline is not None
    assert task.timeline.timeout_s is None
    assert task.timeline.suspense_interval_s == "1"


def test_the_successors_of_a_switch_are_those_of_its_entries() -> None:
    assert switch_of("switches: [{next: 'C, B'}, {next: B}, {next: D}]").next_names == (
        "C",
        "B",
        "D",
    )


def test_an_explicit_next_of_a_switch_is_joined_with_them() -> None:
    assert switch_of("next: D, switches: [{next: B}]").next_names == ("D", "B")


def test_an_empty_list_of_switches_is_fine() -> None:
    assert switch_of("switches: []").next_names == ()


def test_a_switch_entry_without_next_names_null() -> None:
    text = f"{HEADER}tasks:\n- {{name: A, category: switch, switches: [{{condition: default}}]}}\n"
    assert refusal_of(text) == (30413, "next task null not exist.")


def test_successors_are_trimmed() -> None:
    tasks = "- {name: B, category: pass}\n- {name: C, category: pass}\n"
    task = (
        flow(f"tasks:\n- {{name: A, category: pass, next: ' B,, C ,B,'}}\n{tasks}").tasks or ()
    )[0]

    assert task.next == "B,C"
    assert task.next_names == ("B", "C")


def test_null_entries_of_untyped_maps_are_left_out_but_not_those_of_lists() -> None:
    task = only_task("category: pass, parameters: {a: null, b: {c: ~, d: [null, {e: }]}}")

    assert task.parameters == {"b": {"d": [None, {}]}}


def test_a_missing_list_is_none_and_an_empty_one_is_empty() -> None:
    task = only_task("category: return, conditions: []")

    assert isinstance(task, ReturnTask)
    assert task.conditions == ()
    assert task.input_mappings is None


@pytest.mark.parametrize("tag", ["!<function> ", "!!map ", "!function "])
def test_tags_of_older_definitions_are_tolerated(tag: str) -> None:
    assert flow(f"tasks:\n- {tag}\n  name: A\n  category: pass\n").tasks


def test_aliases_are_expanded_and_merge_keys_are_not() -> None:
    definition = flow("""tasks:
- {name: A, category: pass, inputMappings: &rules [{source: 1, target: $.input.a}]}
- {<<: {title: x}, name: B, category: pass, inputMappings: *rules}
""")
    first, second = definition.tasks or ()

    assert first.input_mappings == second.input_mappings
    assert second.title is None


def test_json_is_read_as_well() -> None:
    text = '{"workspace":"w","dagName":"d","type":"flow","tasks":[{"name":"A","category":"pass",\t'
    definition = parse_definition(text + '"title":"\\ud83d\\ude00 \\u00e9 \\\\ud83d"}]}')

    assert (definition.tasks or ())[0].title == "\U0001f600 é \\ud83d"


def test_scalars_in_the_rules_of_a_submitted_callback_are_their_text() -> None:
    rules = [{"source": 5, "target": "$.input.a", "tolerance": True}, {"source": True}]
    read = parse_callback({"resourceName": "http://h", "inputMappings": rules})
    assert read.input_mappings is not None
    assert [rule.source for rule in read.input_mappings] == ["5", "true"]
    assert read.input_mappings[0].tolerance is True
    refused: list[object] = [None, [], {"inputMappings": 5}, {"inputMappings": [5]}]
    for wrong in refused:
        with pytest.raises(ValueError, match="validation error"):
            parse_callback(wrong)
