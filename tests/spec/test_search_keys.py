"""A definition declares by which values of the context its executions are found."""

from typing import Any

import pytest

from rillflow.definition import parse_definition
from rillflow.definition.checks.search_keys import search_keys_of, search_values
from rillflow.definition.problems import find_problems
from rillflow.errors import DefinitionError

HEAD = "workspace: shop\ndagName: order\ntype: flow\n"
TASKS = "tasks: [{name: a, category: pass}]\n"


def declared(*paths: str) -> str:
    return HEAD + f"searchKeys: [{', '.join(map(repr, paths))}]\n" + TASKS


def test_a_path_of_names_is_a_key_with_the_name_of_a_search() -> None:
    definition = parse_definition(declared("$.context.user", "$.context.order.id-of_it"))
    keys = search_keys_of(definition.search_keys)
    assert [(key.name, key.steps) for key in keys] == [
        ("user", ("user",)),
        ("order.id-of_it", ("order", "id-of_it")),
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("user", "is no path of the context"),
        ("$.context", "is no path of the context"),
        ("$.input.user", "is no path of the context"),
        ("$.context.users[0]", "is no path of the context"),
        ("$.context..user", "is no path of the context"),
        ("$.context.users[?(@.a)]", "is no path of the context"),
        ("$.context.*", "is no path of the context"),
        ("$.context.us er", "is no path of the context"),
        ("$.context." + "x" * 101, "is no path of the context"),
        ("$.context.password", "name of a secret"),
        ("$.context.login.api_key", "name of a secret"),
    ],
)
def test_what_is_no_key_is_refused_with_its_place(path: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told) as error:
        parse_definition(declared("$.context.fine", path))
    assert error.value.problems[0].line == 4


def test_a_key_is_declared_once_and_there_are_few() -> None:
    with pytest.raises(DefinitionError, match="declared twice"):
        parse_definition(declared("$.context.user", "$.context.user"))
    with pytest.raises(DefinitionError, match="up to 10 search keys, not 11"):
        parse_definition(declared(*(f"$.context.key{number}" for number in range(11))))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bob", "bob"),
        ("Bob Smith", "Bob Smith"),
        ("名前", "名前"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        ("x" * 200, "x" * 200),
    ],
)
def test_a_scalar_counts_as_its_text(value: Any, expected: str) -> None:
    keys = search_keys_of(("$.context.a.b",))
    assert search_values(keys, {"a": {"b": value}}) == (("a.b", expected),)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", [], {}, ["bob"], {"c": 1}),
        *("x" * 201, "two\nlines", "nul\0", "\ud800", "\u202eright to left"),
        10**400,
    ],
)
def test_everything_else_has_no_value(value: Any) -> None:
    keys = search_keys_of(("$.context.a.b", "$.context.fine"))
    assert search_values(keys, {"a": {"b": value}, "fine": 1}) == (("fine", "1"),)


@pytest.mark.parametrize("context", [{}, {"a": None}, {"a": "text"}, {"a": [{"b": 1}]}])
def test_a_path_that_leads_to_nothing_has_no_value(context: dict[str, Any]) -> None:
    assert search_values(search_keys_of(("$.context.a.b",)), context) == ()


def test_a_key_to_which_nothing_gives_a_value_is_warned_of() -> None:
    text = declared("$.context.uesr") + "defaultContext: { user: bob }\n"
    warnings = [each.message for each in find_problems(text) if each.severity == "warning"]
    assert warnings == ["nothing in the definition gives `$.context.uesr` a value"]
