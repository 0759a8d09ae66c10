"""No text can do harm: a definition is read, or refused with a DefinitionError, quickly.

The worst of these texts takes half a second on a machine of its own. The time limit is
far above that, so that a loaded machine does not fail the tests: what it catches is growth
faster than linear.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.definition.binder import MAX_PROBLEMS
from rillflow.definition.canonical import canonical_text
from rillflow.definition.model import ChoiceTask, ForeachTask
from rillflow.definition.parse import parse_definition
from rillflow.definition.problems import find_problems
from rillflow.definition.sugar import collapse_sugar, expand_sugar
from rillflow.definition.yaml_tree.loader import (
    BYTES_PER_NODE,
    MAX_NESTING,
    MAX_TAG_DIRECTIVES,
    MAX_TEXT_BYTES,
)
from rillflow.errors import DefinitionError
from rillflow.language.jsonpath.syntax import read_path
from tests.machine_speed import least, processor_time
from tests.spec.definition_texts import HEADER, PASS, flow, refusal_of

KEYS: Final = (
    *("workspace", "dagName", "type", "version", "tasks", "name", "category", "next"),
    *("switches", "choices", "condition", "iterationMapping", "collection", "inputMappings"),
    *("source", "target", "transform", "input", "output", "parameters", "timeline"),
    *("timeoutInSeconds", "commonMapping", "reference", "resources", "resourceName"),
    *("pattern", "retry", "maxRetryTimes", "progress", "weight", "defaultContext", "callback"),
    *("namespace",),
)
WORDS: Final = (
    *("flow", "resource", "pass", "function", "choice", "foreach", "switch", "return", "suspense"),
    *("task_sync", "A", "B", "A,B", "demo", "$.A.x", "$.input.x", "resource://r", "null", "1e400"),
)
PUNCTUATION: Final = (
    *(": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "'", '"', "&a", "*a", "!!", "? ", "|", "#"),
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8)
    ),
    max_leaves=30,
)


VALUES: Final = (f"{HEADER}tasks: [{{name: A, category: pass, parameters: {{p: [", "]}}]\n")
PEAK_OF_PROBLEMS: Final = """
import resource, sys
from rillflow.definition import find_problems
text = sys.stdin.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = find_problems(text)
print(len(found), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def filled(head: str, item: str, tail: str) -> str:
    """Repeat an item between two texts, as often as the size limit lets it."""
    room = MAX_TEXT_BYTES - len(head) - len(tail)
    return head + item * (room // len(item)) + tail


@contextmanager
def promptly(limit_s: float = 10) -> Iterator[None]:
    with processor_time(limit_s):
        yield


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "{a: 1, a: 2}", '{"x": {"a": 1, "a": 2}}', "a: 1\n'a': 1"]
)
def test_a_key_that_is_repeated_is_refused_with_its_place(text: str) -> None:
    code, message = refusal_of(text)

    assert code == 30402
    assert message.startswith("key a was there already, in line 1 (line ")


@pytest.mark.parametrize("text", ["[a]: 1", "{a: 1}: 1", "? [a]\n: 1", "x: &x [a]\n*x : 1"])
def test_a_key_that_is_no_text_is_refused(text: str) -> None:
    assert "a key must be text" in refusal_of(text)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: *x", "alias *x stands for nothing"),
        ("a: &x [*x]", "alias *x stands for nothing"),
        (f"{HEADER}---\na: 1", "a second one starts (line 4, column 1)"),
        (f"{HEADER}---\n---\n[a]", "a second one starts (line 5, column 1)"),
        ("a: \x01", "control characters are not allowed (line 1, column 4)"),
        ("a: 1\nb: \ud800", "half a surrogate pair is not text (line 2, column 4)"),
        ('a: "\\ud800"', "invalid Unicode character escape code (line 1, column 7)"),
        (b"a: \xc3\xa9\xff", "the bytes are not UTF-8 (line 1, column 5)"),
        ("a: [1", "(line 2, column 1)"),
        ("a: b: c", "mapping values are not allowed in this context (line 1, column 5)"),
        ("\tb: c", "(line 1, column 1)"),
    ],
)
def test_text_that_is_no_yaml_is_refused_with_its_place(text: str | bytes, words: str) -> None:
    code, message = refusal_of(text)

    assert code == 30402
    assert words in message


def test_warnings_of_very_many_tasks_take_no_longer_for_each() -> None:
    waits = 'category: suspense, conditions: ["$.input.a"]'
    tasks = [f"- {{name: A{n}, {waits}, next: A{n + 1}}}\n" for n in range(7_999)]
    last = f"- {{name: A7999, {waits}}}\n"

    def spent_s() -> float:
        begun_s = time.thread_time()
        assert len(find_problems(f"{HEADER}tasks:\n{''.join(tasks)}{last}")) == 200
        return time.thread_time() - begun_s

    assert least(spent_s, 3) < 3


def test_each_path_of_a_definition_is_read_once() -> None:
    """Several checks look at each; more of them than the cache holds were compiled five times."""
    long = "b" * 1_100  # such a path is not cached
    rules = "".join(f"    a{n}: $.context.b{n}{long}\n" for n in range(40))
    text = f"{HEADER}tasks:\n- name: A\n  category: pass\n  input:\n{rules}"
    reads: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is read_path.__code__:
            reads[frame.f_locals["text"]] += 1

    sys.setprofile(note)
    try:
        find_problems(text)
    finally:
        sys.setprofile(None)
    assert [times for path, times in reads.items() if path.endswith(long)] == [1] * 40


@pytest.mark.parametrize("end", ["---\n", "...\n", "---\n...\n", "--- #\n---", "...\n---\n~\n"])
def test_nothing_may_follow_the_definition_as_a_document(end: str) -> None:
    assert flow(f"{PASS}{end}") == flow(PASS)


@pytest.mark.parametrize("item", ["x", "[]", "{a: b}"])
def test_an_alias_bomb_is_refused(item: str) -> None:
    bomb = f"a0: &a0 [{item}]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 20)
    )

    with promptly():
        assert "aliases expand to more than" in refusal_of(bomb)[1]


def test_more_regular_expressions_than_a_definition_needs_are_refused() -> None:
    rule = "{source: $.context.a, transform: 'src =~ /%d/', target: $.input.a}"
    rules = ", ".join(rule % number for number in range(200))
    text = HEADER + "tasks: [{name: A, category: pass, inputMappings: [%s]}]"
    assert parse_definition(text % rules).tasks
    with promptly():
        code, message = refusal_of(text % f"{rules}, {rule % 200}")
    assert code == 30402
    assert "more than 200 regular expressions" in message


def test_a_long_text_may_not_be_repeated_without_end() -> None:
    text = f"a: &a {'x' * 100_000}\nb: [{'*a,' * 50_000}]"

    assert "aliases expand to more than" in refusal_of(text)[1]


def test_nesting_behind_aliases_counts_too() -> None:
    text = f"a: &a {'[' * 150}{']' * 150}\nb: {'[' * 150}*a{']' * 150}\n"

    assert "nests deeper than" in refusal_of(text)[1]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
@pytest.mark.parametrize("repetitions", [MAX_NESTING + 1, 100_000])
def test_deep_nesting_is_refused(opening: str, repetitions: int) -> None:
    text = (opening * repetitions)[:MAX_TEXT_BYTES]

    with promptly():
        assert refusal_of(text)[0] == 30402


def test_values_may_nest_as_deep_as_is_read() -> None:
    depth = MAX_NESTING - 4
    definition = flow(
        "tasks:\n- {name: A, category: pass, parameters: {a: " + "[" * depth + "]" * depth + "}}\n"
    )

    assert parse_definition(canonical_text(definition)) == definition


def test_text_of_the_size_limit_is_read_and_one_byte_more_is_not() -> None:
    largest = f"{HEADER}{PASS}#".ljust(MAX_TEXT_BYTES, "x")

    assert parse_definition(largest).tasks
    assert refusal_of(largest + "x") == (30508, "dag info length:645121 exceed the limit")
    assert refusal_of(largest[:-1] + "é") == (30508, "dag info length:645121 exceed the limit")
    assert parse_definition(largest + "x", max_bytes=MAX_TEXT_BYTES + 1).tasks


@pytest.mark.one_in(15)
@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "[1,",
            "[],",
            "a,",
            "- a\n",
            "a: b\n",
            "? a\n",
            "&a b ",
            "!a ",
            "'a' ",
            '"\\x41',
            "# a\n",
        ),
        *(
            "|\n a\n",
            "%A\n",
            "---\n",
            "\\",
            "*a ",
            "<<: a\n",
            "\n",
            "\r",
            " ",
            "\t",
            "é",
            "\x00",
            "9",
        ),
        *("- - - ", "a: [b, {c: d}]\n", ": ", "- {name: A, category: pass}\n", "\\ud83d\\ude00"),
    ],
)
@pytest.mark.parametrize("head", ["", "tasks:\n", 'x: "', "[ "])
def test_large_text_is_refused_without_delay(head: str, pattern: str) -> None:
    text = (head + pattern * (MAX_TEXT_BYTES // len(pattern)))[:MAX_TEXT_BYTES]

    with promptly(), pytest.raises(DefinitionError):
        parse_definition(text)


def test_text_beyond_the_size_limit_is_not_even_looked_at() -> None:
    with promptly(limit_s=1):
        assert refusal_of("[" * 50_000_000)[0] == 30508


@pytest.mark.one_in(2)
@pytest.mark.parametrize("item", ["[],  ", "1.25,"])
def test_large_values_are_read_without_delay(item: str) -> None:
    with promptly():
        definition = parse_definition(filled(VALUES[0], item, VALUES[1]))

    assert len(canonical_text(definition)) < 5 * MAX_TEXT_BYTES


def test_many_keys_are_read_without_delay() -> None:
    keys = "".join(f"{number:x}: 1\n" for number in range(64_000))

    with promptly():
        assert parse_definition(f"{HEADER}{PASS}{keys}").tasks


@pytest.mark.one_in(3)
@pytest.mark.parametrize("item", ["[],", "{},", "1,"])
def test_more_values_than_a_definition_could_need_are_refused(item: str) -> None:
    code, message = refusal_of(filled(VALUES[0], item, VALUES[1]))

    assert code == 30402
    assert message.startswith(f"more than {MAX_TEXT_BYTES // BYTES_PER_NODE} keys and values (line")


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    ("head", "item", "tail"),
    [
        ("{HEADER}tasks: [", "{},", "]\n"),
        ("{HEADER}tasks: [", "{category: pass},", "]\n"),
        ("{HEADER}tasks: [", "{category: pass, nonsense: 1},", "]\n"),
        ("{HEADER}tasks: [{category: pass, inputMappings: [", "{source: $.a[},", "]}]\n"),
        ("{HEADER}tasks: [{category: pass, inputMappings: [", "{transform: a + (},", "]}]\n"),
        ("{HEADER}x: &x [" + "[]," * 900 + "]\ny: [", "*x,", "]\n"),
        (VALUES[0], "[],", VALUES[1]),
    ],
)
def test_all_that_is_wrong_with_a_large_text_is_found_in_little_memory(
    head: str, item: str, tail: str
) -> None:
    text = filled(head.replace("{HEADER}", HEADER), item, tail)
    command = [sys.executable, "-c", PEAK_OF_PROBLEMS]
    ended = subprocess.run(  # noqa: S603 - our own program
        command, input=text, capture_output=True, text=True, check=True
    )
    problems, grown_mib = map(int, ended.stdout.split())

    assert 1 <= problems <= 2 * MAX_PROBLEMS
    assert grown_mib < 150


def many_tasks(successors: dict[str, str]) -> str:
    tasks = (
        f"{{name: {name}, category: pass, next: '{nexts}'}}" for name, nexts in successors.items()
    )
    return f"{HEADER}tasks: [{','.join(tasks)}]\n"


def test_ten_thousand_tasks_in_a_row_are_read() -> None:
    text = many_tasks({f"T{n}": f"T{n + 1}" if n < 9_999 else "" for n in range(10_000)})

    with promptly():
        assert len(parse_definition(text).tasks or ()) == 10_000


def test_a_circle_of_ten_thousand_tasks_is_found() -> None:
    text = many_tasks({f"T{n}": f"T{(n + 1) % 10_000}" for n in range(10_000)})

    with promptly():
        assert refusal_of(text)[1].startswith("circle found: T0->T1->T2->")


def test_a_dense_graph_is_read() -> None:
    names = [f"T{n}" for n in range(400)]
    text = many_tasks({name: ",".join(names[place + 1 :]) for place, name in enumerate(names)})

    with promptly():
        assert len(parse_definition(text).tasks or ()) == 400


def test_ten_thousand_unknown_successors_are_told_without_end_of_time() -> None:
    text = many_tasks({f"T{n}": f"U{n}" for n in range(10_000)})

    with promptly():
        assert refusal_of(text) == (30413, "next task U0 not exist.")


def test_wide_sugar_is_expanded_and_collapsed_in_linear_time() -> None:
    entries = ", ".join(f"k{n}: $.A.k{n}" for n in range(15_000))
    definition = flow(
        "tasks:\n- {name: A, category: pass}\n"
        f"- {{name: B, category: pass, input: {{{entries}}}}}\n"
    )

    with promptly():
        assert collapse_sugar(expand_sugar(definition)) == definition


def test_groups_inside_groups_are_walked_without_recursion_errors() -> None:
    task = "{name: Leaf, category: pass}"
    for level in range(39, 0, -1):
        task = f"{{name: N{level}, category: choice, choices: [{{tasks: [{task}]}}]}}"
    definition = parse_definition(f"{HEADER}tasks: [{task}]", max_depth=40)
    innermost = (definition.tasks or ())[0]
    depth = 1
    while isinstance(innermost, ChoiceTask | ForeachTask):
        assert isinstance(innermost, ChoiceTask)
        innermost = ((innermost.choices or ())[0].tasks or ())[0]
        depth += 1

    assert depth == 40


@given(text=st.text(st.characters(), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)


@given(
    parts=st.lists(st.sampled_from([*KEYS, *WORDS, *PUNCTUATION]), max_size=40),
)
def test_any_mixture_of_yaml_is_read_or_refused(parts: list[str]) -> None:
    read_or_refuse("".join(parts))


@given(tree=st.dictionaries(st.sampled_from(KEYS), trees, max_size=8))
def test_any_structure_is_read_or_refused(tree: dict[str, object]) -> None:
    read_or_refuse(json.dumps(tree))


@given(
    task=st.dictionaries(st.sampled_from(KEYS), trees, max_size=8), category=st.sampled_from(WORDS)
)
def test_any_task_is_read_or_refused(task: dict[str, object], category: str) -> None:
    read_or_refuse(
        json.dumps(
            {
                "workspace": "demo",
                "dagName": "example",
                "type": "flow",
                "tasks": [{**task, "name": "A", "category": category}],
            }
        )
    )


def read_or_refuse(text: str | bytes) -> None:
    """Read a text; one that is read is also stored, read back and expanded."""
    is_refused = any(problem.severity == "error" for problem in find_problems(text))
    try:
        definition = parse_definition(text)
    except DefinitionError:
        assert is_refused
        return
    assert not is_refused
    try:
        expanded = expand_sugar(definition)
    except DefinitionError:
        return
    assert parse_definition(canonical_text(definition)) == definition
    assert parse_definition(canonical_text(expanded)) == expanded


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029"])
@pytest.mark.parametrize("before", ["", "\ufeff", "# a comment\n", "---\n...\n"])
def test_tag_directives_are_counted_before_libyaml_compares_each_with_all(
    before: str, line_break: str
) -> None:
    lines = [f"%TAG !t{n}! b{line_break}" for n in range(MAX_TEXT_BYTES // 20)]
    code, message = refusal_of(f"{before}{''.join(lines)}---\n{HEADER}{PASS}")
    assert code == 30402
    assert f"more than {MAX_TAG_DIRECTIVES} %TAG directives" in message


def test_some_tag_directives_are_read_and_the_first_too_many_is_told_with_its_place() -> None:
    lines = [f"%TAG !t{n}! b\n" for n in range(MAX_TAG_DIRECTIVES + 1)]
    definition = f"---\n{HEADER}{PASS}"
    assert parse_definition("".join(lines[:-1]) + definition).tasks
    _, message = refusal_of("".join(lines) + definition)
    assert f"line {len(lines)}, column 1" in message
