"""An author is told everything at once: what is wrong, what is suspicious, where, and a hint."""

import pytest

from rillflow.definition.parse import parse_definition
from rillflow.definition.problems import find_problems
from rillflow.errors import Problem
from tests.spec.definition_texts import FUNCTION, HEADER, PASS

NAME_RULE = "a name has 1 to 100 letters a-z, A-Z and digits 0-9"
BROKEN_PATH = "'$.context.a[?('"
BROKEN_EXPRESSION = "'1 +'"
BROKEN_LEAF = (
    f"{{name: C, category: pass, inputMappings: [{{source: {BROKEN_PATH}, target: $.input.a}}]}}"
)
LEAF = "{name: C, category: pass}"
SUGARED = "{name: C, category: pass, input: {a: {reference: x}}}"
EACH = "category: foreach, iterationMapping"
RULES = "[{source: a, target: $.context.a}]"
GOOD_EACH = f"{EACH}: {{collection: $.input.c, item: i}}, tasks: [{LEAF}]"


def warnings_in(rest: str) -> list[Problem]:
    """List the problems of a flow that is accepted, which are warnings all."""
    parse_definition(HEADER + rest)
    problems = find_problems(HEADER + rest)
    assert {problem.severity for problem in problems} <= {"warning"}
    return problems


def only_warning(rest: str) -> Problem:
    (problem,) = warnings_in(rest)
    return problem


def test_a_good_definition_has_none() -> None:
    assert find_problems(HEADER + PASS) == []


def test_problems_of_different_kinds_are_told_together() -> None:
    text = f"""{HEADER}version: 1
owner: me
tasks:
- name: first
  category: function
  pattern: task_sync
  resourceName: http://gateway/first
  next: secnd
  outputMapping:
  - source: $.output.a
- name: second
  category: pass
  inputMappings:
  - source: $.context.a[x]
    target: $.input.a
- name: second
  category: choice
"""
    problems = find_problems(text)

    assert [(it.severity, it.code, it.line, it.column, it.hint) for it in problems] == [
        ("error", 30407, 19, 9, ""),
        ("error", 30413, 11, 9, "did you mean `second`?"),
        ("error", 30412, 19, 3, ""),
        ("warning", 30402, 5, 1, ""),
        ("warning", 30402, 12, 3, "did you mean `outputMappings`?"),
        ("warning", 30110, 17, 13, ""),
    ]
    assert problems[4].message == "unknown key `outputMapping` is ignored"


def test_values_that_do_not_fit_hide_no_other_problem() -> None:
    text = """workspace: a_b
dagName: example
type: flo
tasks:
- name: first
  category: functon
  next: second,thrid
- name: second
  category: choice
  choices: 5
  nxt: third
- name: third
  category: pass
  next: first
- name: third
  category: pass
  tolerance: perhaps
"""
    problems = find_problems(text)
    told = [(it.code, it.line, it.column, it.message, it.hint) for it in problems]

    assert told[:3] == [
        (30402, 6, 13, "category functon is unknown", "did you mean `function`?"),
        (30402, 10, 12, "choices must be a list, not `5`", ""),
        (30402, 17, 14, "tolerance must be true or false, not `perhaps`", ""),
    ]
    assert told[3:7] == [
        (30403, 3, 7, "dag type is invalid.", "there is no type `flo`; did you mean `flow`?"),
        (30408, 1, 12, "name invalid:a_b", f"{NAME_RULE}; 'a_b' has '_'"),
        (30407, 15, 9, "task name duplicated: third", ""),
        (30413, 7, 9, "next task thrid not exist.", "did you mean `third`?"),
    ]
    assert [it.severity for it in problems[7:]] == ["warning"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: [1\nb: 2", 2, 2),
        ("a: 1\nb: c: d", 2, 5),
        ("a: 1\n\tb: 2", 2, 1),
        ("a: 1\na: 2", 2, 1),
        ("a: *b", 1, 4),
        ("text", 1, 1),
    ],
)
def test_malformed_text_is_one_problem_with_its_place(text: str, line: int, column: int) -> None:
    (problem,) = find_problems(text)

    assert (problem.code, problem.line, problem.column) == (30402, line, column)
    assert problem.severity == "error"


@pytest.mark.parametrize(("text", "code"), [("", 30401), (None, 30401), ("x" * 645_121, 30508)])
def test_text_that_is_not_read_at_all_is_one_problem(text: str | None, code: int) -> None:
    (problem,) = find_problems(text)

    assert (problem.code, problem.line) == (code, 0)


def test_all_values_of_the_wrong_kind_are_told() -> None:
    text = f"""{HEADER}tasks:
- name: A
  category: functoin
- name: []
  category: pass
  tolernce: 1
"""
    problems = find_problems(text)

    assert [(it.line, it.column, it.hint) for it in problems] == [
        (6, 13, "did you mean `function`?"),
        (7, 9, ""),
        (9, 3, "did you mean `tolerance`?"),
    ]


def test_a_missing_field_is_placed_at_its_task() -> None:
    text = f"{HEADER}tasks:\n- {{name: A, category: foreach, tasks: [{LEAF}]}}\n"
    (problem,) = find_problems(text)

    assert (problem.code, problem.line, problem.column) == (30411, 5, 3)


def test_an_unknown_successor_of_a_switch_is_placed_at_its_entry() -> None:
    text = f"""{HEADER}tasks:
- name: A
  category: switch
  switches:
  - {{condition: default, next: first}}
  - {{condition: default, next: 'frist, zzz'}}
- {{name: first, category: pass}}
"""
    problems = find_problems(text)

    assert [(it.line, it.column, it.hint) for it in problems] == [
        (9, 32, "did you mean `first`?"),
        (9, 32, ""),
    ]


def test_an_unknown_explicit_successor_of_a_switch_is_placed_there() -> None:
    switches = "switches: [{next: B}]"
    text = f"{HEADER}tasks:\n- {{name: A, category: switch, next: C, {switches}}}\n- {LEAF}\n"
    problems = find_problems(text.replace("name: C", "name: B"))

    assert [(it.message, it.line, it.column) for it in problems] == [
        ("next task C not exist.", 5, 37)
    ]


def test_an_unknown_reference_gets_a_hint() -> None:
    text = f"""{HEADER}commonMapping: {{shared: [{{source: a, target: $.input.a}}]}}
tasks:
- {{name: A, category: pass, inputMappings: [{{reference: sharde}}]}}
"""
    (problem,) = find_problems(text)

    assert (problem.code, problem.hint) == (30406, "did you mean `shared`?")


def test_both_kinds_of_conditions_on_a_function_are_suspicious() -> None:
    problem = only_warning(
        f"tasks:\n- {{name: A, {FUNCTION}, successConditions: [$.output.a],\n"
        "   failConditions: [$.output.b]}\n"
    )

    assert (problem.line, problem.column) == (6, 20)
    assert "successConditions decide alone" in problem.message


@pytest.mark.parametrize(
    "task",
    [
        f"category: pass, inputMappings: [{{source: {BROKEN_PATH}, target: $.input.a}}]",
        f"category: pass, outputMappings: [{{source: a, target: {BROKEN_PATH}}}]",
        f"category: pass, inputMappings: [{{transform: {BROKEN_EXPRESSION}, target: $.input.a}}]",
        f"category: pass, input: {{a: {BROKEN_PATH}}}",
        f"category: pass, input: {{a: {{transform: {BROKEN_EXPRESSION}}}}}",
        f"category: return, conditions: [{BROKEN_PATH}]",
        f"category: suspense, conditions: [], interruptions: [{BROKEN_PATH}]",
        f"category: suspense, conditions: [], timeline: {{timeoutInSeconds: {BROKEN_PATH}}}",
        f"category: switch, switches: [{{condition: {BROKEN_PATH}, next: B}}]",
        f"category: choice, choices: [{{condition: {BROKEN_PATH}}}]",
        f"category: choice, choices: [{{condition: $.input.a, tasks: [{BROKEN_LEAF}]}}]",
        f"{EACH}: {{collection: {BROKEN_PATH}, item: i}}, tasks: [{LEAF}]",
        f"{EACH}: {{collection: $.input.c, item: i, identity: {BROKEN_PATH}}}, tasks: [{LEAF}]",
        f"{GOOD_EACH}, synchronization: {{conditions: [{BROKEN_PATH}]}}",
        f"{GOOD_EACH}, synchronization: {{conditions: [$.input], maxConcurrency: {BROKEN_PATH}}}",
        f"{FUNCTION}, successConditions: [{BROKEN_PATH}]",
        f"{FUNCTION}, failConditions: [{BROKEN_PATH}]",
        f"{FUNCTION}, retry: {{conditions: [{BROKEN_PATH}]}}",
        f"{FUNCTION}, progress: {{calculation: {BROKEN_EXPRESSION}}}",
        f"{FUNCTION}, progress: {{args: [{{source: {BROKEN_PATH}}}]}}",
    ],
)
def test_a_broken_path_or_expression_is_a_warning_with_its_place(task: str) -> None:
    text = f"tasks:\n- {{name: A, {task}}}\n- {{name: B, category: pass}}\n"
    problem = only_warning(text)
    broken = BROKEN_PATH if BROKEN_PATH in task else BROKEN_EXPRESSION

    assert problem.code == 30110
    assert (problem.line, problem.column) == (5, text.splitlines()[1].index(broken) + 1)


@pytest.mark.parametrize(
    "rest",
    [
        f"timeline: {{timeoutInSeconds: {BROKEN_PATH}}}\n{PASS}",
        f"callback: {{inputMappings: [{{source: {BROKEN_PATH}, target: $.input.a}}]}}\n{PASS}",
        f"commonMapping: {{m: [{{source: {BROKEN_PATH}, target: $.input.a}}]}}\n{PASS}",
    ],
)
def test_a_broken_path_outside_the_tasks_is_a_warning_too(rest: str) -> None:
    problem = only_warning(rest)

    assert (problem.code, problem.line) == (30110, 4)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("category: pass, inputMappings: [{source: a}]", "without target"),
        ("category: pass, inputMappings: [{target: $.input.a}]", "without source and transform"),
        (
            "category: pass, outputMappings: [{source: a, target: $.other.a}]",
            "`$.other.a` does not last",
        ),
        ("category: pass, outputMappings: [{source: a, target: context.a}]", "since it lacks `$.`"),
        ("category: return", "without conditions fails"),
        ("category: suspense", "without conditions fails"),
        ("category: choice, choices: [{tasks: []}]", "without condition"),
        (f"{EACH}: {{collection: $.input.c}}, tasks: [{LEAF}]", "without item"),
        (f"{EACH}: {{collection: $.input.c, item: i}}, tasks: [{SUGARED}]", "top-level tasks only"),
        (f"category: switch, switches: [], outputMappings: {RULES}", "are ignored"),
    ],
)
def test_what_cannot_do_what_its_author_hopes_is_a_warning(task: str, words: str) -> None:
    assert words in only_warning(f"tasks:\n- {{name: A, {task}}}\n").message


@pytest.mark.parametrize(
    "task",
    [
        "category: switch, switches: [{condition: default, next: B}]",
        "category: pass, inputMappings: [{source: '$.tasks.A.trigger_url?[', target: $.input.a}]",
        "category: pass, outputMappings: [{source: '', transform: return 1;, target: $.context.a}]",
        "category: pass, outputMappings: [{source: '[', target: \"$['context']['a']\"}]",
        "category: suspense, conditions: [], timeline: {timeoutInSeconds: 5}",
    ],
)
def test_what_is_special_is_not_suspicious(task: str) -> None:
    assert warnings_in(f"tasks:\n- {{name: A, {task}}}\n- {{name: B, category: pass}}\n") == []


def test_a_long_unknown_key_is_shortened_and_gets_no_hint() -> None:
    problem = only_warning(f"{PASS}{'category' * 9}: 1\n")

    assert problem.message == f"unknown key `{('category' * 9)[:57]}...` is ignored"
    assert problem.hint == ""


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            "isolation: Dedicated",
            "isolation `Dedicated` is ignored; it is `dedicated` or `shared`",
            "did you mean `dedicated`?",
        ),
        ("isolation: ''", "isolation `` is ignored; it is `dedicated` or `shared`", ""),
        ("isolation: own", "isolation `own` is ignored; it is `dedicated` or `shared`", ""),
    ],
)
def test_an_isolation_that_is_none_is_warned_of(line: str, message: str, hint: str) -> None:
    problem = only_warning(f"{PASS}{line}\n")

    assert (problem.message, problem.hint, problem.column) == (message, hint, 12)


def test_a_completion_that_is_none_is_warned_of() -> None:
    call = "category: function, pattern: task_async, resourceName: 'http://a.test/b'"
    [problem] = warnings_in(f"tasks:\n- {{name: A, {call}, completion: polled}}\n")

    assert problem.message == "completion `polled` is ignored; it is `callback` or `poll`"
    assert problem.hint == "did you mean `poll`?"


def test_a_collection_that_is_no_path_is_warned_of() -> None:
    problem = only_warning(
        f"tasks: [{{name: A, {EACH}: {{collection: words, item: i}}, tasks: [{LEAF}]}}]"
    )

    assert problem.message == "collection `words` is no path, so nothing is iterated"
    assert problem.hint == "a path is written such as $.input.items"


def mapped(source: str, *, rules: str = "") -> str:
    rule = f'{{source: "{source}", target: $.input.a}}'
    return (
        f"tasks:\n- {{name: A, category: pass, next: B}}\n"
        f"- {{name: B, category: pass, inputMappings: [{rules}{rule}]}}\n"
    )


def test_a_source_that_begins_with_an_unknown_name_is_warned_of() -> None:
    problem = only_warning(mapped("$.contxt.a"))

    assert problem.message == ("`$.contxt` is always empty: mappings see context, input and output")
    assert (problem.line, problem.hint) == (6, "did you mean `context`?")


@pytest.mark.parametrize(
    "text",
    [
        mapped("$.A.result"),
        mapped("$['context']['a']"),
        mapped("$..a"),
        mapped("$.*"),
        mapped("$.tasks.A.trigger_url"),
        mapped("$.late.b", rules="{source: x, target: $.late.b}, "),
    ],
)
def test_a_name_that_is_there_or_may_be_is_not_suspicious(text: str) -> None:
    assert warnings_in(text) == []


def test_what_a_common_mapping_writes_is_a_known_name() -> None:
    shared = "commonMapping: {none: null, some: [{source: a, target: $.late.b}]}\n"
    rules = "{reference: some}, "
    assert warnings_in(mapped("$.late.b", rules=rules) + shared) == []


def test_only_top_level_tasks_refer_to_others_by_name() -> None:
    inner = "{name: C, category: pass, inputMappings: [{source: $.B.x, target: $.input.a}]}"
    each = f"{EACH}: {{collection: $.input.c, item: i}}, tasks: [{inner}]"
    text = f"tasks:\n- {{name: B, category: pass, next: A}}\n- {{name: A, {each}}}\n"

    assert only_warning(text).message.startswith("`$.B` is always empty")


def test_sugar_that_begins_with_an_unknown_name_is_warned_of() -> None:
    task = "tasks: [{name: A, category: pass, input: {a: $.inptu.a}}]\n"
    assert only_warning(task).hint == "did you mean `input`?"
    assert only_warning(f"{PASS}output: {{a: $.outptu.a}}\n").hint == "did you mean `output`?"


def test_the_number_of_problems_has_a_limit() -> None:
    keys = "".join(f"unknown{number}: 1\n" for number in range(1_000))

    assert len(find_problems(HEADER + PASS + keys)) == 200


def test_the_depth_is_a_setting() -> None:
    each = "category: foreach, iterationMapping: {collection: $.input.c, item: i}"
    text = f"{HEADER}tasks:\n- {{name: A, {each}, tasks: [{{name: B, category: pass}}]}}\n"

    assert find_problems(text) == []
    assert [it.message for it in find_problems(text, max_depth=1)] == ["exceed max depth: A"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a-b", f"{NAME_RULE}; 'a-b' has '-'"),
        ("'a b'", f"{NAME_RULE}; 'a b' has ' '"),
        ("''", f"{NAME_RULE}; it is empty"),
        ("a" * 101, f"{NAME_RULE}; '{'a' * 57}...' has 101"),
    ],
)
def test_a_name_that_is_none_is_told_the_rule_and_what_breaks_it(name: str, why: str) -> None:
    (problem,) = find_problems(f"{HEADER}tasks:\n- {{name: {name}, category: pass}}\n")

    assert problem.message.startswith("name invalid:")
    assert (problem.code, problem.line, problem.column, problem.hint) == (30408, 5, 10, why)


def test_a_missing_field_at_the_top_is_told_by_its_name() -> None:
    found = find_problems("just: data\ntype: flow\n")
    hints = [problem.hint for problem in found if problem.code == 30408]
    assert hints == [f"{key}: {NAME_RULE}; there is none" for key in ("workspace", "dagName")]


def test_a_missing_name_is_told_the_rule() -> None:
    (problem,) = find_problems(f"{HEADER}tasks:\n- category: pass\n")

    assert problem.hint == f"{NAME_RULE}; there is none"


def test_a_function_without_a_pattern_or_an_address_is_told_what_there_is() -> None:
    problems = find_problems(f"{HEADER}tasks:\n- {{name: A, category: function, pattern: sync}}\n")

    assert [it.code for it in problems] == [30410, 30410]
    assert "task_sync, task_async" in problems[0].hint
    assert "http://host/path" in problems[1].hint


def test_a_definition_that_is_too_long_is_told_the_limit() -> None:
    (problem,) = find_problems("x" * 645_121)

    assert problem.hint == "a definition may have up to 645120 bytes"
