"""Rill Flow's messages stay as they are; what they mean is said beside them in plain words."""

import re

import pytest

from rillflow.cli.reporting import with_hint
from rillflow.plain_words import _SENTENCES, in_plain_words

UUID = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("dagDescriptorId:b format error", "b is not a descriptor id"),
        ("cannot find descriptor: b:f:release", "no definition is stored as b:f:release"),
        ("name invalid:", "(nothing) is not a valid name"),
        ("name invalid:a{0}b", "a{0}b is not a valid name"),
        (f"validateDAGInfo dag executionId:{UUID} is finished", f"the execution {UUID} has ended"),
        (f"task not exists {UUID}:A", f"there is no task A in an execution {UUID}"),
        (
            "function task A is invalid. Because pattern can not be null.",
            "the function task A is not valid: pattern can not be null.",
        ),
        ("count 0 nonsupport", "count is 1 to 30000, not 0"),
    ],
)
def test_a_message_of_the_original_has_a_plain_sentence(message: str, plain: str) -> None:
    assert in_plain_words(message) == plain


@pytest.mark.parametrize("message", ["", "there is no task x", "dag task empty. x", "x" * 10_000])
def test_other_messages_are_left_alone(message: str) -> None:
    assert in_plain_words(message) is None
    assert with_hint(message, "more") == f"{message} (more)"


def test_the_command_line_says_the_plain_sentence_alone() -> None:
    message, plain = "dag task empty.", "the definition has no tasks"
    assert with_hint(message, "") == plain
    assert with_hint(message, plain) == plain
    assert with_hint(message, "add one") == f"{plain} (add one)"


def test_every_sentence_has_a_place_for_each_part_of_its_message() -> None:
    for pattern, sentence in _SENTENCES:
        parts = re.compile(pattern).groups
        assert set(re.findall(r"{(\d)}", sentence)) == {str(n) for n in range(parts)}


def test_long_and_nested_messages_take_no_time_to_match() -> None:
    message = "function task " + "is invalid. Because " * 190
    assert in_plain_words(message) is not None
    assert in_plain_words("task not exists " + "_c_0:" * 700) is not None
