"""A path, a variable or a function that is not there where it is used is told, with a way out."""

import contextlib

import pytest

from rillflow.definition.problems import find_problems
from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.conditions import holds
from tests.spec.definition_texts import FUNCTION, HEADER, PASS
from tests.spec.test_problems import EACH, GOOD_EACH, LEAF, only_warning, warnings_in

COPY = "inputMappings copy from $.context to $.input"
SUSPENSE = "category: suspense, timeline: {timeoutInSeconds: 9}"


@pytest.mark.parametrize(
    ("task", "message", "hint"),
    [
        (
            "category: choice, choices: [{condition: @$.context.a}]",
            "`$.context` is not there: a choice condition sees $.input",
            COPY,
        ),
        (
            "category: switch, switches: [{next: B, condition: '@$.context.[?(@.a > 1)]'}]",
            "`$.context` is not there: a switch condition sees $.input",
            COPY,
        ),
        (
            "category: switch, switches: [{next: B, condition: @Default}]",
            "`$.Default` is not there: a switch condition sees $.input",
            "did you mean `default`?",
        ),
        (
            "category: return, conditions: [$.input.b, @$.inptu.a]",
            "`$.inptu` is not there: a return condition sees $.input",
            "did you mean `input`?",
        ),
        (
            "category: return, conditions: [@ready]",
            "`$.ready` is not there: a return condition sees $.input",
            "a path is written such as $.input.count",
        ),
        (
            f"{SUSPENSE}, conditions: [@$.approved]",
            "`$.approved` is not there: a suspense condition sees $.input",
            "did you mean `$.input.approved`?",
        ),
        (
            f"{SUSPENSE}, conditions: [], interruptions: [@$.output.stop]",
            "`$.output` is not there: an interruption sees $.input",
            "",
        ),
        (
            f"{EACH}: {{collection: @$.context.c, item: i}}, tasks: [{LEAF}]",
            "`$.context` is not there: a collection sees $.input",
            COPY,
        ),
        (
            f"{EACH}: {{collection: $.input.c, item: i, identity: @$.i.id}}, tasks: [{LEAF}]",
            "`$.i` is not there: an identity sees $.iteration.element",
            "the element is $.iteration.element",
        ),
        (
            f"{GOOD_EACH}, synchronization: {{conditions: [@$.context.a], maxConcurrency: 2}}",
            "`$.context` is not there: a synchronization condition sees $.input",
            COPY,
        ),
        (
            f"{GOOD_EACH}, synchronization: {{conditions: [$.input], maxConcurrency: @$.limit}}",
            "`$.limit` is not there: maxConcurrency sees $.input",
            "did you mean `$.input.limit`?",
        ),
        (
            f"{FUNCTION}, successConditions: [@$.input.ok]",
            "`$.input` is not there: a success condition sees $.output",
            "",
        ),
        (
            f"{FUNCTION}, failConditions: ['@$.data[?(@.a)]']",
            "`$.data` is not there: a fail condition sees $.output",
            "did you mean `$.output.data`?",
        ),
        (
            f"{FUNCTION}, retry: {{conditions: [@$.ouput.ok]}}",
            "`$.ouput` is not there: a retry condition sees $.output",
            "did you mean `output`?",
        ),
        (
            f"{FUNCTION}, timeline: {{timeoutInSeconds: @$.context.patience}}",
            "`$.context` is not there: timeoutInSeconds sees $.input",
            COPY,
        ),
        (
            f"{FUNCTION}, timeline: {{suspenseIntervalSeconds: @$.context.wait}}",
            "`$.context` is not there: suspenseIntervalSeconds sees $.input",
            COPY,
        ),
        (
            f"{FUNCTION}, timeline: {{suspenseTimestamp: @$.context.start}}",
            "`$.context` is not there: suspenseTimestamp sees $.input",
            COPY,
        ),
        (
            f"{FUNCTION}, progress: {{args: [{{variable: v, source: @$.context.a}}]}}",
            "`$.context` is not there: an argument of progress sees $.input",
            COPY,
        ),
        (
            f"{GOOD_EACH}, synchronization: {{maxConcurrency: @2}}",
            "maxConcurrency without conditions does not count: all iterations run at once",
            "write conditions: [$.input] beside it, which always hold",
        ),
        (
            f"{GOOD_EACH}, synchronization: {{conditions: [], maxConcurrency: @$.input.n}}",
            "maxConcurrency without conditions does not count: all iterations run at once",
            "write conditions: [$.input] beside it, which always hold",
        ),
    ],
)
def test_a_path_that_never_leads_anywhere_is_a_warning_with_its_place(
    task: str, message: str, hint: str
) -> None:
    marked = f"tasks:\n- {{name: A, {task}}}\n- {{name: B, category: pass}}\n"
    text = marked.replace("@.", "%").replace("@", "").replace("%", "@.")
    problem = only_warning(text)

    column = marked.replace("@.", "%.").splitlines()[1].replace("'@", "@'").index("@") + 1
    assert (problem.code, problem.message, problem.hint) == (30406, message, hint)
    assert (problem.line, problem.column) == (5, column)


def test_the_time_out_of_the_flow_sees_the_context_only() -> None:
    problem = only_warning(f"timeline: {{timeoutInSeconds: $.input.patience}}\n{PASS}")

    assert problem.message == "`$.input` is not there: timeoutInSeconds sees $.context"
    assert problem.hint == "what was submitted is in $.context"
    assert warnings_in(f"timeline: {{timeoutInSeconds: $.context.patience}}\n{PASS}") == []


@pytest.mark.parametrize(
    "task",
    [
        "category: choice, choices: [{condition: input.a}, {condition: \"$['input'].a\"}]",
        "category: switch, switches: [{condition: $..a, next: B}, {condition: default, next: B}]",
        "category: return, conditions: [\"$['input','context']\", $.*, $]",
        f"{SUSPENSE}, conditions: [$.input.a], interruptions: ['$.input.[?(@.b == $.c)]']",
        f"{EACH}: {{collection: input.c, item: i}}, tasks: [{LEAF}]",
        f"{EACH}: {{collection: $.input.c, item: i, identity: one}}, tasks: [{LEAF}]",
        (
            f"{EACH}: {{collection: $.input.c, item: i, identity: $.iteration.element.id}},"
            f" tasks: [{LEAF}], synchronization: {{conditions: [$.input], maxConcurrency: 2}}"
        ),
        f"{FUNCTION}, successConditions: [$.output.a], retry: {{conditions: [$.output.b]}}",
        f"{FUNCTION}, failConditions: [$.output.a], timeline: {{timeoutInSeconds: $.input.t}}",
        "category: pass, timeline: {timeoutInSeconds: $.context.unused}",
    ],
)
def test_a_path_that_may_lead_somewhere_is_not_suspicious(task: str) -> None:
    assert warnings_in(f"tasks:\n- {{name: A, {task}}}\n- {{name: B, category: pass}}\n") == []


@pytest.mark.parametrize("start", ["$.context", "context", "$['context']"])
@pytest.mark.parametrize(
    "rest",
    ["", ".a", "[0]", "[*]", "..a", ".[?(@.a != 1)]", "[?(@.a == null)]", "['a','b']", ".size()"],
)
def test_what_is_warned_of_is_never_found(start: str, rest: str) -> None:
    document: JsonObject = {"input": {"a": 1, "context": {"a": 1}}}

    assert not holds(start + rest, document)
    with contextlib.suppress(LanguageError):
        assert compile_path(start + rest).find(document) in (None, [])


@pytest.mark.parametrize(
    ("transform", "message", "hint"),
    [
        ("cuont(source)", "there is no function `cuont`", "did you mean `count`?"),
        ("string.lenght(source)", "no function `string.lenght`", "did you mean `string.length`?"),
        ("source.trim()", "there is no function `source.trim`", ""),
        ("now() - source", "now is not supported: an expression has no clock", ""),
        (
            "sourc + 1",
            "`sourc` is always nil, there is no such variable",
            "did you mean `source`?",
        ),
        ("let x = 1; x + y", "`y` is always nil", "there are source, context, input, output"),
        ("map(source, lambda(a) -> a + b end)", "`b` is always nil", "there are source, context"),
    ],
)
def test_a_call_or_a_variable_that_is_not_there_is_warned_of(
    transform: str, message: str, hint: str
) -> None:
    text = mapped(transform)
    problem = only_warning(text)
    column = text.splitlines()[1].index(f"'{transform}'") + 1

    assert problem.message.startswith("transform: ")
    assert message in problem.message
    assert problem.hint.startswith(hint)
    assert (problem.code, problem.line, problem.column) == (30406, 5, column)


def mapped(transform: str) -> str:
    rule = f"{{target: $.input.a, transform: '{transform}'}}"
    return f"tasks:\n- {{name: A, category: pass, inputMappings: [{rule}]}}\n"


@pytest.mark.parametrize(
    "transform",
    [
        "count(source) + input.a + context.b + output.c",
        "reduce(source, +, 0)",
        "map(source, str)",
        "f = lambda(x) -> x * 2 end; f(source)",
        "fn half(x) { x / 2 } half(source)",
        "for k, v in source { t = t + v; } return t;",
        "is_def(whatever) ? source : nil",
        'source =~ /(a)(b)/ ? $1 : "#{source}"',
    ],
)
def test_what_an_expression_has_or_makes_itself_is_not_suspicious(transform: str) -> None:
    assert warnings_in(mapped(transform)) == []


def test_the_calculation_of_a_progress_has_variables_of_its_own() -> None:
    task = f"tasks: [{{name: A, {FUNCTION}, progress: {{calculation: '@'}}}}]\n"
    assert warnings_in(task.replace("@", "taskRunningTimeInMillis / params.most")) == []

    problem = only_warning(task.replace("@", "source"))
    assert problem.message.startswith("calculation: `source` is always nil")
    assert problem.hint == "there are params, taskRunningTimeInMillis"


def subflow(pattern: str, more: str = "", address: str = "rillflow://demo:child") -> str:
    what = f"category: function, pattern: {pattern}, resourceName: '{address}'"
    return f"tasks:\n- {{name: A, {what}{more}}}\n"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("task_sync", "does not wait for the sub-flow"),
        ("task_async", "is not told when the sub-flow ends"),
        ("task_scheduler", "is not told when the sub-flow ends"),
    ],
)
def test_a_sub_flow_with_a_pattern_of_tasks_is_warned_of(pattern: str, words: str) -> None:
    problem = only_warning(subflow(pattern))

    assert f"a sub-flow with pattern {pattern} {words}" in problem.message
    assert problem.hint.startswith("flow_sync waits for the sub-flow")
    assert (problem.code, problem.line, problem.column) == (30410, 5, 42)


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("rillflow://child", "the form is business:feature,"),
        ("rillflow://demo:my-child", "'my-child' has '-'"),
        ("rillflow://demo:child:md5_0123", "after md5_ come 32 digits"),
        ("rillflow://demo/child", "the form is business:feature,"),
    ],
)
def test_an_id_that_no_sub_flow_can_have_is_warned_of(address: str, hint: str) -> None:
    problem = only_warning(subflow("flow_sync", address=address))

    assert problem.message.endswith("no sub-flow is found")
    assert hint in problem.hint
    assert (problem.code, problem.line, problem.column) == (30410, 5, 67)


@pytest.mark.parametrize(
    "text",
    [
        subflow("flow_sync"),
        subflow("flow_async", address="rillflow://demo:child:gray"),
        subflow("flow_sync", address=f"rillflow://demo:child:md5_{'0a' * 16}"),
        subflow("flow_sync", address="rillflow://${secret:TENANT}:child"),
        subflow("flow_sync", ", resourceProtocol: rillflow", address="demo:child"),
        subflow("task_sync", ", resourceProtocol: http"),
        subflow("task_sync", ", resource: {name: r, category: c}"),
        subflow("task_async", ", input: {done: $.tasks.A.trigger_url}"),
    ],
)
def test_a_sub_flow_that_may_be_meant_so_is_not_suspicious(text: str) -> None:
    assert warnings_in(text) == []


GATE = "name: B, category: suspense, conditions: [$.input.ok]"
BLIND = "without outputMappings a wake-up brings nothing"


@pytest.mark.parametrize(
    "text",
    [
        f"- {{{GATE}}}\n",
        f"- {{{GATE}}}\n- {{name: A, category: pass, next: B}}\n",
        (
            "- {name: A, category: pass, next: 'B,C'}\n- {name: C, category: pass, next: B}\n"
            f"- {{{GATE}, next: 'D,E'}}\n- {{name: D, category: pass}}\n"
            "- {name: E, category: pass}\n"
        ),
        (
            "- {name: A, category: pass}\n"
            f"- {{name: F, {EACH}: {{collection: $.input.c, item: i}}, tasks: [{{{GATE}}}]}}\n"
        ),
    ],
)
def test_a_suspense_that_no_wake_up_can_end_is_warned_of(text: str) -> None:
    problem = only_warning(f"tasks:\n{text}")

    assert BLIND in problem.message
    assert problem.hint.startswith("outputMappings bring what a wake-up sends")


@pytest.mark.parametrize(
    "text",
    [
        f"- {{{GATE}, outputMappings: [{{source: $.output.ok, target: $.context.ok}}]}}\n",
        f"- {{{GATE}, timeline: {{timeoutInSeconds: 5}}}}\n",
        f"- {{{GATE}}}\n- {{name: A, category: pass}}\n",
        (
            f"- {{name: A, category: pass, next: 'B,C'}}\n- {{{GATE}, next: D}}\n"
            "- {name: C, category: pass, next: D}\n- {name: D, category: pass}\n"
        ),
        (
            f"- {{name: A, category: pass, next: 'B,C'}}\n- {{{GATE}}}\n"
            "- {name: C, category: pass}\n"
        ),
        f"- {{name: A, category: pass, next: B, outputType: stream}}\n- {{{GATE}}}\n",
        f"- {{name: A, {FUNCTION}, next: B}}\n- {{{GATE}, keyCallback: true}}\n",
        f"- {{{GATE}, next: C}}\n- {{name: C, category: pass, input: {{a: $.B.ok}}}}\n",
        "- {name: B, category: suspense, conditions: []}\n",
    ],
)
def test_a_suspense_that_something_may_end_is_not_suspicious(text: str) -> None:
    assert warnings_in(f"tasks:\n{text}") == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [("example", "dagName is example, too"), ("demo", "workspace is demo, too"), ("A", "")],
)
def test_a_name_that_is_not_a_tasks_is_told_where_it_is(name: str, hint: str) -> None:
    tasks = f"- {{name: A, category: pass}}\n- {{name: {name}, category: pass}}\n"
    (problem,) = find_problems(f"{HEADER}tasks:\n{tasks}")

    assert (problem.code, problem.message) == (30407, f"task name duplicated: {name}")
    assert (problem.line, problem.hint) == (6, hint)


def test_a_workflow_named_like_its_workspace_is_told_so() -> None:
    (problem,) = find_problems(f"workspace: demo\ndagName: demo\ntype: flow\n{PASS}")

    assert (problem.line, problem.hint) == (2, "workspace is demo, too")


def test_a_list_of_successors_is_told_how_they_are_written() -> None:
    tasks = "- {name: A, category: pass, next: [B]}\n- {name: B, category: pass}\n"
    (problem,) = find_problems(f"{HEADER}tasks:\n{tasks}")

    assert problem.message == "next must be text, not a list"
    assert problem.hint == "names are separated by commas, as in `next: first,second`"
