"""Targets make what is missing on their way, and copy what they change (spec 2.6)."""

import json
from copy import deepcopy
from typing import Any, Final

import pytest

from rillflow.errors import (
    BudgetExceededError,
    LanguageError,
    PathEvaluationError,
    PathSyntaxError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.targets import MAX_PADDING, Draft, compile_target

LISTS: Final[dict[str, Any]] = {
    "input": {"l": [{"a": 1}, {"a": 2}, {"b": 3}], "m": {"x": 1}, "s": "text"}
}


def write(target: str, document: dict[str, Any], value: JsonValue = 1) -> Any:
    """Write into a copy of a document, and check that the document stayed as it was."""
    before = deepcopy(document)
    draft = Draft(dict(document))
    compile_target(target).write(draft, value)
    assert document == before
    return draft.document


@pytest.mark.case("JP-01")
@pytest.mark.parametrize("document", [{}, {"context": 123}, {"input": {"type": "gif"}}])
def test_maps_on_the_way_are_made(document: dict[str, Any]) -> None:
    written = write("$.input.meta.user.id", document)

    assert compile_path("$.input.meta.user.id").find(written) == 1
    assert written == {
        **document,
        "input": {**document.get("input", {}), "meta": {"user": {"id": 1}}},
    }


@pytest.mark.case("JP-02")
@pytest.mark.parametrize(
    "document",
    [{}, {"context": 123}, {"input": {"type": "gif"}}, {"input": {"meta": {"user": [{"id": 1}]}}}],
)
def test_lists_are_padded_and_their_slots_become_maps(document: dict[str, Any]) -> None:
    written = write("$.input.meta.user[1].id", document)

    first = {"id": 1} if "meta" in document.get("input", {}) else None
    assert written["input"]["meta"]["user"] == [first, {"id": 1}]


@pytest.mark.case("JP-03")
@pytest.mark.parametrize(
    "document",
    [{}, {"context": 123}, {"input": {"type": "gif"}}, {"input": {"meta": {"user": [{"id": 1}]}}}],
)
def test_an_index_at_the_end_pads_the_list(document: dict[str, Any]) -> None:
    written = write("$.input.meta.user[1]", document)

    assert compile_path("$.input.meta.user[1]").find(written) == 1


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        ("$.input.a", {}, {"a": 1}),
        ("$.input.a", {"a": {"b": 2}}, {"a": 1}),
        ("$.input['a.b']", {}, {"a.b": 1}),
        ("$.input.meta.['id.key']", {}, {"meta": {"id.key": 1}}),
        ("$.input.l[2]", {}, {"l": [None, None, 1]}),
        ("$.input.l[0]", {"l": [7, 8]}, {"l": [1, 8]}),
        ("$.input.l[0]", {"l": {"x": 2}}, {"l": [1]}),
        ("$.input.l[0]", {"l": "text"}, {"l": [1]}),
        ("$.input.l[0][1]", {}, {"l": [[None, 1]]}),
        ("$.input.l[1].a[1].b", {}, {"l": [None, {"a": [None, {"b": 1}]}]}),
        ("$.input.l[0].a", {"l": [{"b": 2}]}, {"l": [{"b": 2, "a": 1}]}),
        ("$.input.l.0", {}, {"l": {"0": 1}}),
        ("$.input.l['0']", {}, {"l": {"0": 1}}),
        ("$.input.a.b", {"a": None}, {"a": {"b": 1}}),
        ("$.input['x','y']", {"x": 2}, {"x": 1, "y": 1}),
        ("$.input.m['x','y']", {}, {"m": {"x": 1, "y": 1}}),
    ],
)
def test_the_last_part_is_made_or_overwritten(
    target: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert write(target, {"input": before}) == {"input": after}


@pytest.mark.parametrize(
    ("target", "elements"),
    [
        ("$.input.l[*]", [9, 9, 9]),
        ("$.input.l.*", [9, 9, 9]),
        ("$.input.l[0,2]", [9, {"a": 2}, 9]),
        ("$.input.l[0,7]", [9, {"a": 2}, {"b": 3}]),
        ("$.input.l[1:]", [{"a": 1}, 9, 9]),
        ("$.input.l[?(@.a)]", [9, 9, {"b": 3}]),
        ("$.input.l[?(@.a == 7)]", [{"a": 1}, {"a": 2}, {"b": 3}]),
        ("$.input.l[-1]", [{"a": 1}, {"a": 2}, {"b": 3}]),
        ("$.input.l[0,-1]", [9, {"a": 2}, {"b": 3}]),
    ],
)
def test_a_selection_at_the_end_updates_the_elements_that_are_there(
    target: str, elements: list[JsonValue]
) -> None:
    assert write(target, LISTS, 9) == {"input": {**LISTS["input"], "l": elements}}


@pytest.mark.parametrize("end", ["[*]", "[0,1]", "[-1]", "[0:2]", "[?(@.a)]", "[?(!@.a)]"])
def test_a_selection_in_a_list_that_is_missing_leaves_an_empty_map(end: str) -> None:
    assert write(f"$.input.no{end}", {"input": {"a": 1}}) == {"input": {"a": 1, "no": {}}}


@pytest.mark.parametrize("end", ["[*]", ".*", "[0,1]"])
def test_a_selection_below_an_index_that_is_missing_pads_the_list(end: str) -> None:
    assert write(f"$.input.l[1]{end}", {"input": {"l": "text"}}) == {"input": {"l": [None, {}]}}


def test_a_wildcard_at_the_end_updates_the_members_that_are_there() -> None:
    assert write("$.input.m.*", {"input": {"m": {"x": 1, "y": [2]}}}, 9) == {
        "input": {"m": {"x": 9, "y": 9}}
    }


def test_a_filter_at_the_end_may_ask_for_the_whole_document() -> None:
    document: dict[str, Any] = {"context": {"a": 2}, "input": LISTS["input"]}
    written = write("$.input.l[?(@.a == $.context.a)]", document, 9)
    assert written["input"]["l"] == [{"a": 1}, 9, {"b": 3}]


def test_a_filter_that_a_map_passes_replaces_the_map() -> None:
    assert write("$.input.m[?(@.x == 1)]", LISTS, 9)["input"]["m"] == 9


@pytest.mark.parametrize(
    "target",
    [
        "$.input.s.x",
        "$.input.m.x.y",
        "$.input.l.x",
        "$.input.l[0].a.b",
        "$.input.s[*]",
        "$[0]",
        "$[0].x",
        "$.input.m[0,1]",
        "$.input.s['a','b']",
    ],
)
def test_a_scalar_or_the_wrong_container_on_the_way_is_an_error(target: str) -> None:
    with pytest.raises(PathEvaluationError):
        write(target, LISTS)


@pytest.mark.parametrize(
    "target",
    [
        "$",
        "$.input.l[*].x",
        "$.input.l[-1].x",
        "$.input.l[0,1].x",
        "$.input.l[?(@.a)].x",
        "$.input..x",
        "$.input['a','b'].x",
        "$.input.l[0:1].x",
        "$.input.l.length()",
        "$.input.length().x",
        "$.a b",
    ],
)
def test_only_the_end_of_a_target_may_select(target: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_target(target)


def test_a_target_without_dollar_is_written_where_nobody_sees_it() -> None:
    assert write("input.x", {"input": {}}) == {"input": {}}
    assert write("@.input.x", {"input": {}}) == {"input": {}}


def test_other_entries_of_the_document_can_be_written_and_read_back() -> None:
    assert write("$.scratch.x", {"input": {}}) == {"input": {}, "scratch": {"x": 1}}


def test_padding_is_bounded() -> None:
    assert len(write(f"$.input.l[{MAX_PADDING - 1}]", {"input": {}})["input"]["l"]) == MAX_PADDING
    with pytest.raises(BudgetExceededError):
        write(f"$.input.l[{MAX_PADDING}]", {"input": {}})


def test_a_draft_copies_each_container_once_and_shares_the_rest() -> None:
    document: dict[str, Any] = {"input": {"a": {"x": 1}, "b": {"y": 2}}}
    draft = Draft(dict(document))
    compile_target("$.input.a.x").write(draft, 5)
    copied: Any = draft.document["input"]
    compile_target("$.input.a.z").write(draft, 6)

    assert copied["a"] == {"x": 5, "z": 6}
    assert copied["b"] is document["input"]["b"]
    assert draft.document["input"] is copied
    assert document == {"input": {"a": {"x": 1}, "b": {"y": 2}}}


def test_the_value_is_written_by_reference() -> None:
    value: JsonValue = {"big": [1, 2, 3]}

    assert write("$.input.x", {"input": {}}, value)["input"]["x"] is value


def test_a_value_that_was_written_is_not_changed_by_later_writes() -> None:
    value: dict[str, JsonValue] = {"a": 1}
    draft = Draft({"input": {}})
    compile_target("$.input.x").write(draft, value)
    compile_target("$.input.x.a").write(draft, 2)

    assert value == {"a": 1}
    assert draft.document == {"input": {"x": {"a": 2}}}


def test_inner_places_are_written_before_the_outer_ones_that_replace_them() -> None:
    document: JsonValue = {"k": {"k": {"x": 1}}, "l": [{"k": 2}]}
    draft = Draft(dict(document) if isinstance(document, dict) else {})
    draft.set_places(compile_path("$..k").places(document), 7)

    assert json.dumps(draft.document) == json.dumps({"k": 7, "l": [{"k": 7}]})


def test_a_long_target_is_compiled_or_refused() -> None:
    assert write("$.input['" + "x" * 5_000 + "']", {"input": {}}) == {"input": {"x" * 5_000: 1}}
    with pytest.raises(LanguageError):
        compile_target("$.input." + "x" * 1_000_000)
