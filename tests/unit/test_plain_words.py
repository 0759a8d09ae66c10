"""Rill Flow's messages stay as they are; what they mean is said beside them in plain words."""

import re

import pytest
from rich.console import Console

from rillflow.cli.output.showing import show_execution
from rillflow.cli.reporting import with_hint
from rillflow.plain_words import (
    _OF_TASKS,
    _SENTENCES,
    in_plain_words,
    of_task_in_plain_words,
)
from tests.unit.commands import path, run, stand_in

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
    for pattern, sentence in (*_SENTENCES, *_OF_TASKS):
        parts = re.compile(pattern).groups
        assert set(re.findall(r"{(\d)}", sentence)) == {str(n) for n in range(parts)}


def test_long_and_nested_messages_take_no_time_to_match() -> None:
    message = "function task " + "is invalid. Because " * 190
    assert in_plain_words(message) is not None
    assert in_plain_words("task not exists " + "_c_0:" * 700) is not None


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("dispatchTask http fails due to 500 Oh: no", "the call failed: 500 Oh: no"),
        ("handle functionPattern protocol: htpdo not support", "nothing serves the protocol htp"),
        ("handle fails: exceed max depth, dag route: a -> b", "sub-flows are nested too"),
        ("handle fails: prompt is empty", "it was given no prompt"),
        ("handle fails: no answer within 3 s", "the call failed: no answer within 3 s"),
        ("skip due to dependent tasks return or degrade", "skipped, since a task before it"),
        ("loop collection or subTasks empty", "nothing to do"),
        ("timeout", "its time was up"),
        ("the printer has a timeout", "the printer has a timeout"),
        ("dispatchTask http fails due to " + "x" * 5_000, "dispatchTask http fails"),
    ],
)
def test_a_message_of_a_task_has_a_plain_sentence_and_others_stay(message: str, plain: str) -> None:
    assert of_task_in_plain_words(message).startswith(plain)


def test_the_command_line_says_messages_of_tasks_in_plain_words_everywhere() -> None:
    message, plain = "dispatchTask http fails due to no paper", "the call failed: no paper"
    times = [{"start_time": 1, "end_time": 2, "error": message}] * 2
    invoke = {"msg": message, "invoke_time_infos": times}
    tasks = {"a": {"status": "FAILED", "task": {"category": "function"}, "invoke_msg": invoke}}
    view = {"execution_id": UUID, "dag_status": "FAILED", "dag_invoke_msg": invoke, "tasks": tasks}
    item = {"execution_id": UUID, "submit_time": 1, "business_id": "b", "feature_id": "f"}
    answers = {
        path("get"): {"ret": view},
        path("submit"): {"execution_id": UUID},
        "flow__bg__get_execution_ids.json": {"items": [item | {"status": "FAILED"}], "total": 1},
    }
    with stand_in(**answers) as (url, _):
        for command in (("list",), ("watch", UUID), ("submit", "b:f", "--wait")):
            _, shown, told = run(*command, "--url", url)
            assert plain in shown + told
            assert "dispatchTask" not in shown + told
        assert message in run("get", UUID, "--url", url)[1], "JSON is what the API shows"
    console = Console(record=True, width=120, force_terminal=True)
    show_execution(console, view, tasks, 10)
    text = console.export_text()
    assert text.count(plain) == 4  # the execution's, the task's, two attempts
    assert "dispatchTask" not in text
