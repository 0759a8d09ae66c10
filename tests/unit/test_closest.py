"""A misspelt name gets the nearest one as a hint, and no definition makes hints expensive."""

import time
from random import Random

import pytest

from rillflow.definition import find_problems
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
