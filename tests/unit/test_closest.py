"""A misspelt name gets the nearest one as a hint, and no definition makes hints expensive."""

import time
from random import Random
from typing import get_args

import pytest

from rillflow.definition import find_problems
from rillflow.definition.model import Pattern
from rillflow.suggestions import closest
from tests.machine_speed import least

_OF_A_GROUP = """workspace: ws
dagName: dd
type: flow
tasks:
- name: each
  category: foreach
  iterationMapping: {collection: $.input.l}
  tasks:
  - name: a
    category: pass
    inputMappings:
"""
_OF_THE_TOP = """workspace: ws
dagName: dd
type: flow
inputSchema: '[{"name": "x"}]'
tasks:
  - name: a
    category: pass
    inputMappings:
"""


def test_the_nearest_of_many_alike_is_suggested() -> None:
    options = [f"order_{n:03}_of_customer" for n in range(300)]
    assert closest("order_217_of_custumer", options) == "order_217_of_customer"


@pytest.mark.parametrize("word", ["", "x", "nothing_like_it"])
def test_nothing_is_suggested_when_nothing_is_near(word: str) -> None:
    assert closest(word, ["greeting", "name"]) is None


@pytest.mark.parametrize("begin", [_OF_A_GROUP, _OF_THE_TOP], ids=["group", "top"])
def test_hundreds_of_unknown_keys_that_are_like_hundreds_of_known_ones_take_no_time(
    begin: str,
) -> None:
    """It took 10 s, 300 exact comparisons for each of 200 problems."""
    text = _keys_that_are_alike(begin)

    def spent_s() -> float:
        begun_s = time.thread_time()
        assert len(find_problems(text, max_depth=10)) == 200
        return time.thread_time() - begun_s

    assert least(spent_s, 1.5) < 1.5


def _keys_that_are_alike(begin: str) -> bytes:
    random = Random(3)  # noqa: S311 -- names, not secrets

    def key() -> str:
        letters = list("ab" * 30)
        for _ in range(8):
            letters[random.randrange(60)] = random.choice("abcd")
        return "".join(letters)

    reads = [f"    - {{source: $.context.{key()}, target: $.input.x}}\n" for _ in range(300)]
    writes = [f"    - {{source: $.output.k, target: $.context.{key()}}}\n" for _ in range(300)]
    return "".join([begin, *reads, "    outputMappings:\n", *writes]).encode()


_TASK = """workspace: ws
dagName: dd
type: flow
tasks:
- name: a
  category: function
  pattern: task_sync
  resourceName: http://host/path
"""


@pytest.mark.parametrize(
    ("written", "misspelt", "hint"),
    [
        ("type: flow", "type: Flwo", "there is no type `Flwo`; did you mean `flow`?"),
        ("type: flow", "type: graph", "there is no type `graph`; type is flow or resource"),
        (
            "pattern: task_sync",
            "pattern: task_asyc",
            "there is no pattern `task_asyc`; did you mean `task_async`?",
        ),
        (
            "pattern: task_sync",
            "pattern: TASKSYNC",
            "there is no pattern `TASKSYNC`; did you mean `task_sync`?",
        ),
        (
            "pattern: task_sync",
            "pattern: now",
            f"there is no pattern `now`; pattern is one of {', '.join(get_args(Pattern))}",
        ),
        ("category: function", "category: FUNCTION", "did you mean `function`?"),
        (
            "category: function",
            "category: call",
            "category is one of function, choice, foreach, suspense, pass, return, switch",
        ),
        (
            "category: function",
            "categ: function",
            "`categ` is no key; did you mean `category`?",
        ),
        (
            "  category: function\n",
            "",
            "category is one of function, choice, foreach, suspense, pass, return, switch",
        ),
    ],
)
def test_a_misspelt_value_of_a_closed_list_gets_the_nearest_or_all(
    written: str, misspelt: str, hint: str
) -> None:
    problems = find_problems(_TASK.replace(written, misspelt))
    assert [found.hint for found in problems if found.severity == "error"] == [hint]


@pytest.mark.parametrize("empty", ["", "~", "''", "' '"])
def test_an_empty_pattern_is_none_that_is_misspelt(empty: str) -> None:
    [found] = find_problems(_TASK.replace("task_sync", empty))
    assert found.hint.startswith("pattern is one of ")


def test_other_misspelt_keys_of_a_task_without_a_category_are_told_too() -> None:
    text = _TASK.replace("category", "categ").replace("resourceName", "resorceName")
    warned = [found for found in find_problems(text) if found.severity == "warning"]
    assert [(found.message, found.hint) for found in warned] == [
        ("unknown key `categ` is ignored", "did you mean `category`?"),
        ("unknown key `resorceName` is ignored", "did you mean `resourceName`?"),
    ]
