"""Mapping rules write values in order, into copies, and pass over failures (spec 2.1 to 2.7)."""

from copy import deepcopy
from typing import Any, Final, NamedTuple

import pytest

from rillflow.errors import MappingError, PathEvaluationError, PathSyntaxError
from rillflow.jsontypes import JsonValue, decode_json
from rillflow.language.mapping.mappings import Mapped, compile_mappings

CHAIN: Final[JsonValue] = decode_json(b"[" * 100 + b"]" * 100)


class Copy(NamedTuple):
    """A rule as a definition has it."""

    source: str | None = None
    target: str | None = None
    transform: str | None = None
    tolerance: bool | None = None


def apply(*rules: Copy, context: Any = None, input: Any = None, output: Any = None) -> Mapped:  # noqa: A002 - the language's own word
    """Apply rules, and check that what they were given stayed as it was."""
    given = (context or {}, input or {}, output or {})
    before = deepcopy(given)
    mapped = compile_mappings(rules).apply(
        context=given[0],
        input=given[1],
        output=given[2],
        trigger_url=lambda name: (
            f"http://localhost:8080/flow/trigger.json?execution_id=123456&task_name={name}"
        ),
        seed=7,
    )
    assert given == before
    return mapped


def value_of(source: str, **document: Any) -> JsonValue:
    """Return what a source alone puts into ``$.input.v``."""
    mapped = apply(Copy(source, "$.input.v"), **document)
    assert isinstance(mapped.input, dict)
    return mapped.input.get("v")


@pytest.mark.case("PA-01")
def test_rules_run_in_the_order_they_are_written() -> None:
    mapped = apply(
        Copy("$.context.key1", "$.context.key2"),
        Copy("value1", "$.context.key1"),
        context={"key1": "value2"},
    )

    assert mapped.context == {"key1": "value1", "key2": "value2"}


@pytest.mark.case("JP-12")
def test_rules_build_on_each_others_results() -> None:
    mapped = apply(
        Copy("$.context.a", "$.input.number.a"),
        Copy(
            '[{"url": "a", "name": "name1"}, {"url": "b", "name": "name2"}]', "$.input.meta.array"
        ),
        Copy("$.context.url", "$.input.meta.array[0].url"),
        context={"a": "123", "url": "http1"},
    )

    assert mapped.input == {
        "number": {"a": "123"},
        "meta": {"array": [{"url": "http1", "name": "name1"}, {"url": "b", "name": "name2"}]},
    }


@pytest.mark.case("JP-12")
def test_a_literal_is_the_same_in_every_application() -> None:
    rules = compile_mappings([Copy('{"n": 0}', "$.input.m"), Copy("1", "$.input.m.n")])

    first = rules.apply(context={}, input={}, output={})
    again = rules.apply(context={}, input={}, output={})

    assert first.input == again.input == {"m": {"n": 1}}


@pytest.mark.case("CM-02")
def test_an_edit_of_one_tasks_input_is_not_seen_by_its_siblings() -> None:
    context = {"metaData": {"text": "aa"}}
    copies = Copy("$.context.metaData", "$.input.metaData")

    edited = apply(copies, Copy("value", "$.input.metaData.text"), context=context)
    sibling = apply(copies, context=context)

    assert edited.input == {"metaData": {"text": "value"}}
    assert edited.context == sibling.context == context
    assert sibling.input == {"metaData": {"text": "aa"}}


@pytest.mark.case("FE-14")
def test_a_group_without_the_wanted_key_contributes_null() -> None:
    groups = [{"url": "u0"}, {}, {"url": "u2"}]

    assert value_of("$.output.sub_context.[*].url", output={"sub_context": groups}) == [
        "u0",
        None,
        "u2",
    ]


@pytest.mark.case("JP-11")
@pytest.mark.parametrize(("followers", "expected"), [(1000, False), (3000, False), (3100, True)])
def test_a_transform_replaces_the_value(followers: int, *, expected: bool) -> None:
    rule = Copy(
        "$.context.user", "$.input.v", transform="source.followerCount > 3000 ? true : false"
    )

    assert apply(rule, context={"user": {"followerCount": followers}}).input == {"v": expected}


def test_a_transform_sees_context_input_and_output() -> None:
    rule = Copy(None, "$.input.v", transform="context.a + input.b + output.c")

    mapped = apply(rule, context={"a": 1}, input={"b": 2}, output={"c": 3})

    assert mapped.input == {"b": 2, "v": 6}


def test_a_transform_without_source_transforms_null() -> None:
    assert apply(Copy("", "$.input.v", transform="source == nil")).input == {"v": True}


def test_the_seed_decides_the_random_numbers() -> None:
    rules = compile_mappings(
        [Copy(None, f"$.input.{name}", transform="rand(1000000)") for name in "ab"]
    )

    first = rules.apply(context={}, input={}, output={}, seed=1).input
    assert first == rules.apply(context={}, input={}, output={}, seed=1).input
    assert first != rules.apply(context={}, input={}, output={}, seed=2).input
    assert isinstance(first, dict)
    assert first["a"] != first["b"]


@pytest.mark.case("IO-01")
def test_an_empty_source_is_nothing() -> None:
    assert apply(Copy("", "$.input.v"), Copy(" ", "$.input.v"), Copy(None, "$.input.v")).input == {}


@pytest.mark.case("IO-02")
def test_a_path_source_reads_the_document() -> None:
    assert value_of("$.input.hello", input={"hello": "world"}) == "world"


@pytest.mark.case("IO-03")
def test_a_tasks_callback_address_carries_an_extra_query_as_it_is() -> None:
    extra = "context=%7B%22trans_finish%22%3A%20true%7D"

    assert value_of(f"$.tasks.testTaskName.trigger_url?{extra}?and=not this?nor=that") == (
        "http://localhost:8080/flow/trigger.json?execution_id=123456&task_name=testTaskName&"
        + extra
    )


@pytest.mark.case("IO-04")
@pytest.mark.parametrize(
    "source",
    [
        "$.tasks.testTaskName.xxx?context=1",
        "$.tasks.a.b",
        "$.tasks.a.b.c.d",
        "$.tasks.a?b.trigger_url",
        "$.tasks.a.trigger_urls",
        "$.tasks.a.b.trigger_url",
    ],
)
def test_other_attributes_of_a_task_are_nothing(source: str) -> None:
    assert value_of(source, context={"tasks": 1}) is None


@pytest.mark.case("IO-05")
def test_a_tasks_callback_address_alone() -> None:
    assert value_of("$.tasks.task1.trigger_url") == (
        "http://localhost:8080/flow/trigger.json?execution_id=123456&task_name=task1"
    )


def test_without_an_address_the_callback_source_is_nothing() -> None:
    rules = compile_mappings([Copy("$.tasks.task1.trigger_url", "$.input.v")])

    assert rules.apply(context={}, input={}, output={}).input == {}


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (Copy("1", None), "no_target"),
        (Copy("1", " "), "no_target"),
        (Copy(None, "$.input.v"), "no_source"),
        (Copy(), "no_target"),
    ],
)
def test_rules_without_target_or_without_value_write_nothing(rule: Copy, kind: str) -> None:
    mapped = apply(rule)
    assert (mapped.context, mapped.input, mapped.output) == ({}, {}, {})
    assert [told.kind for told in mapped.passed_over] == [kind]


def test_null_is_never_written_and_an_empty_list_is() -> None:
    mapped = apply(
        Copy("$.context.nothing", "$.input.a"),
        Copy("$.context.missing.key", "$.input.a", tolerance=False),
        Copy("$.context.list[?(@.x)]", "$.input.b"),
        Copy("$.context.x", "$.input.a", transform="nil"),
        context={"nothing": None, "list": []},
        input={"a": 1, "b": 2},
    )

    assert mapped.input == {"a": 1, "b": []}
    assert [told.kind for told in mapped.passed_over] == ["null", "missing", "transform_nil"]


@pytest.mark.parametrize(
    "failing",
    [
        Copy("$.context.chain.sum()", "$.input.v"),
        Copy("$.context.[?(@.x =~ /(?=x)/)]", "$.input.v", transform="1"),
        Copy("1", "$.input.l[*].x"),
        Copy("1", "$.input.text.x"),
        Copy("1", "$.input.v", transform="nope("),
        Copy("1", "$.input.v", transform="1 + nope(2)"),
        Copy("[" * 5_000, "$.input.v"),
        Copy("$..*..*..*..*", "$.input.v"),
    ],
)
def test_a_failing_rule_is_passed_over_unless_its_tolerance_is_false(failing: Copy) -> None:
    context, after = {"text": "t", "chain": CHAIN}, Copy("2", "$.input.after")
    given = {"text": "t"}

    mapped = apply(failing, after, context=context, input=given)
    assert mapped.input == {"text": "t", "after": 2}
    assert [told.number for told in mapped.passed_over] == [1]
    assert apply(failing._replace(tolerance=True), after, context=context, input=given) == mapped
    with pytest.raises(MappingError):
        apply(failing._replace(tolerance=False), after, context=context, input=given)


@pytest.mark.parametrize(
    "source",
    ["$.context.text[?(@.x)]", "$.context.[?(@.x = 1)]", "$.context.[x]", "$.context.list.nope()"],
)
def test_a_source_that_cannot_be_read_is_null_and_told_and_no_failure(source: str) -> None:
    context = {"text": "t", "list": [1]}

    mapped = apply(Copy(source, "$.input.v", tolerance=False), context=context)
    assert mapped.input == {}
    assert [told.kind for told in mapped.passed_over] == ["bad_path"]
    shown = Copy(source, "$.input.v", transform="source == nil ? 'none' : source", tolerance=False)
    mapped = apply(shown, Copy("2", "$.input.after"), context=context)
    assert mapped.input == {"v": "none", "after": 2}
    assert [(told.number, told.kind) for told in mapped.passed_over] == [(1, "bad_path")]
    mapped = apply(Copy(source, "$.input.v", transform="nil", tolerance=False), context=context)
    assert mapped.input == {}
    assert [told.kind for told in mapped.passed_over] == ["bad_path"]


def test_a_strict_list_stops_at_a_source_that_cannot_be_read() -> None:
    rules = [Copy("$.context[x]", "$.input.a", transform="1"), Copy("2", "$.input.b")]
    mapped = compile_mappings(rules).apply(context={}, input={}, output={}, strict=True)
    assert mapped.stopped
    assert "b" not in (mapped.input if isinstance(mapped.input, dict) else {})


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            Copy("hunter2", "$.input[?("),
            (
                "(literal) -> $.input[?(",
                "a filter does not close with ')]', at character 7 of path $.input[?(",
            ),
        ),
        (
            Copy("$.context.x", "$.input.s.y"),
            ("$.context.x -> $.input.s.y", "PathEvaluationError"),
        ),
        (
            Copy("hunter2", "$.input.y", transform="source + hunter(2)"),
            ("(transform) -> $.input.y", "ExpressionError"),
        ),
        (
            Copy(None, "$.input.y", transform="1 +"),
            ("(transform) -> $.input.y", "line 1, column 4: unexpected 'the end of the text'"),
        ),
        (
            Copy("hunter2", "$.input.s.y", transform=" "),
            ("(literal) -> $.input.s.y", "PathEvaluationError"),
        ),
        (
            Copy("hunter2", "$.output"),
            (
                "(literal) -> $.output",
                "$.output as a whole cannot be replaced; what was written there is gone",
            ),
        ),
    ],
)
def test_a_rule_that_is_passed_over_is_told_without_values(
    rule: Copy, told: tuple[str, str]
) -> None:
    mapped = apply(rule, context={"x": "hunter2"}, input={"s": "hunter2"})
    assert [(passed.rule, passed.loggable) for passed in mapped.passed_over] == [told]


def test_the_error_of_a_mapping_tells_its_cause() -> None:
    with pytest.raises(MappingError, match="no numbers") as caught:
        apply(Copy("$.context.t.sum()", "$.input.v", tolerance=False), context={"t": 1})
    assert isinstance(caught.value.__cause__, PathEvaluationError)

    with pytest.raises(MappingError) as caught:
        apply(Copy("1", "$.input[x]", tolerance=False))
    assert isinstance(caught.value.__cause__, PathSyntaxError)


@pytest.mark.parametrize("root", ["context", "input", "output"])
def test_replacing_a_root_is_seen_by_later_rules_only(root: str) -> None:
    kept = {"kept": 1}
    mapped = apply(
        Copy("first", f"$.{root}.before"),
        Copy('{"new": 5}', f"$.{root}"),
        Copy("lost", f"$.{root}.after"),
        Copy(f"$.{root}", "$.scratch.seen"),
        Copy("$.scratch.seen", f"$.{'input' if root != 'input' else 'context'}.seen"),
        **{root: kept},
    )

    seen = mapped.input if root != "input" else mapped.context
    assert getattr(mapped, root) == {"kept": 1, "before": "first"}
    assert seen == {"seen": {"new": 5, "after": "lost"}}
    assert [(told.number, told.kind, told.reason) for told in mapped.passed_over] == [
        (2, "root", f"$.{root} as a whole cannot be replaced; what was written there is gone"),
    ]


def test_a_member_that_is_called_like_a_root_is_a_member_like_any_other() -> None:
    mapped = apply(
        Copy("1", "$.context.input"),
        Copy("2", "$.input.x"),
        Copy("3", "$.context.m.context"),
        Copy("4", "$.context.o"),
        context={"m": {}},
    )
    assert mapped == Mapped({"m": {"context": 3}, "input": 1, "o": 4}, {"x": 2}, {}, ())


def test_an_index_at_a_root_replaces_it_too() -> None:
    mapped = apply(Copy("1", "$.input[1]"), Copy("$.input", "$.context.seen"))

    assert mapped.input == {}
    assert mapped.context == {"seen": [None, 1]}
    assert [told.kind for told in mapped.passed_over] == ["root"]


def test_writes_elsewhere_leave_nothing_behind() -> None:
    mapped = apply(Copy("1", "$.other.x"), Copy("2", "input.y"), Copy("$.other.x", "$.input.z"))

    assert (mapped.context, mapped.input, mapped.output) == ({}, {"z": 1}, {})
    assert [(told.number, told.kind) for told in mapped.passed_over] == [(2, "not_written")]


def test_a_value_copied_within_the_document_is_no_alias() -> None:
    mapped = apply(
        Copy("1", "$.context.a.n"),
        Copy("$.context.a", "$.context.b"),
        Copy("2", "$.context.b.n"),
        Copy("$.context.a", "$.context.c", transform="source"),
        Copy("3", "$.context.c.n"),
        Copy("$.context.*", "$.input.all"),
        Copy("4", "$.context.a.n"),
    )

    assert mapped.context == {"a": {"n": 4}, "b": {"n": 2}, "c": {"n": 3}}
    assert mapped.input == {"all": [{"n": 1}, {"n": 2}, {"n": 3}]}


@pytest.mark.parametrize(
    "source", ["$", "$.context", "$[?(@.context)]", "$.list.append($.context)"]
)
def test_a_document_can_be_copied_into_itself(source: str) -> None:
    mapped = apply(
        Copy("1", "$.context.a"),
        Copy("[]", "$.list"),
        Copy(source, "$.context.self"),
        Copy("2", "$.context.a"),
    )

    assert isinstance(mapped.context, dict)
    assert mapped.context["a"] == 2
    assert "'self'" not in str(mapped.context["self"])
    assert "'a': 1" in str(mapped.context["self"])


def test_what_no_rule_writes_stays_the_same_object() -> None:
    context = {"big": {"x": [1, 2, 3]}}

    mapped = apply(Copy("$.context.big", "$.input.big"), context=context)

    assert mapped.context is context
    assert isinstance(mapped.input, dict)
    assert mapped.input["big"] is context["big"]
