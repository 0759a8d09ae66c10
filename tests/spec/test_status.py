"""The status of a scope follows from how many of its members have each status."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, get_args

import pytest

from rillflow.core.status import (
    ACTIVE,
    COMPLETED,
    DAG_COMPLETED,
    SATISFIED,
    SATISFIED_IN_KEY_MODE,
    STARTED,
    DagStatus,
    TaskStatus,
)
from rillflow.core.tasks.groups import parent_status
from rillflow.core.traversal import group_status, scope_status
from rillflow.core.view import status_name
from rillflow.definition.model import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    PassTask,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
    Task,
)
from rillflow.definition.parse import parse_definition
from rillflow.errors import DefinitionError

SHORT: Final = {
    "NEW": TaskStatus.NOT_STARTED,
    "READY": TaskStatus.READY,
    "RUN": TaskStatus.RUNNING,
    "ST": TaskStatus.STASHED,
    "K": TaskStatus.KEY_SUCCEED,
    "OK": TaskStatus.SUCCEED,
    "FAIL": TaskStatus.FAILED,
    "SKIP": TaskStatus.SKIPPED,
}


def counts_of(statuses: Sequence[str]) -> list[int]:
    counts = [0] * len(TaskStatus)
    for status in statuses:
        counts[SHORT[status]] += 1
    return counts


# -- statuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "members"),
    [
        pytest.param(COMPLETED, "OK FAIL SKIP", id="completed"),
        pytest.param(SATISFIED, "OK SKIP", id="satisfied"),
        pytest.param(SATISFIED_IN_KEY_MODE, "OK SKIP K", id="satisfied in key mode"),
        pytest.param(ACTIVE, "READY RUN", id="active"),
        pytest.param(STARTED, "READY RUN ST K OK FAIL SKIP", id="started"),
    ],
)
def test_what_a_status_implies(table: Sequence[bool], members: str) -> None:
    assert {name for name, status in SHORT.items() if table[status]} == set(members.split())


def test_an_execution_is_completed_when_it_succeeded_or_failed() -> None:
    completed = [status for status in DagStatus if DAG_COMPLETED[status]]
    assert completed == [DagStatus.SUCCEED, DagStatus.FAILED]


def test_statuses_of_an_execution_are_ordered_as_completion_by_hand_compares_them() -> None:
    order = ["NOT_STARTED", "RUNNING", "KEY_SUCCEED", "SUCCEED", "FAILED"]
    assert [status.name for status in sorted(DagStatus)] == order
    assert all(earlier < later for earlier, later in pairwise(DagStatus))


def test_only_success_of_a_task_is_shown_under_another_name() -> None:
    shown = {status: status_name(status) for status in TaskStatus}
    assert shown[TaskStatus.SUCCEED] == "SUCCEEDED"
    assert all(name == status.name for status, name in shown.items() if status.name != "SUCCEED")


# -- groups --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "keys", "expected"),
    [
        pytest.param("K RUN", "0 1", "RUN", id="PS-01"),
        pytest.param("K OK", "0 1", "K", id="PS-02"),
        pytest.param("K RUN", "", "RUN", id="PS-04"),
        pytest.param("K FAIL", "0 1", "FAIL", id="PS-05"),
        pytest.param("K FAIL", "0", "K", id="PS-06"),
        pytest.param("K FAIL", "", "FAIL", id="PS-07"),
        pytest.param("RUN RUN", "", "RUN", id="PS-08"),
        pytest.param("RUN OK", "0", "RUN", id="PS-10"),
        pytest.param("OK OK", "", "OK", id="PS-11"),
        pytest.param("", "", "OK", id="no groups"),
        pytest.param("OK SKIP", "", "OK", id="skipped branches"),
        pytest.param("READY FAIL", "", "RUN", id="a group still to start"),
        pytest.param("RUN READY FAIL", "", "RUN", id="as many still to start as there are running"),
        pytest.param("K K", "", "RUN", id="key success, not asked for"),
    ],
)
def test_the_status_of_a_task_with_groups(groups: str, keys: str, expected: str) -> None:
    statuses = groups.split()
    key_counts = counts_of([statuses[int(index)] for index in keys.split()])
    assert parent_status(counts_of(statuses), key_counts) is SHORT[expected]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("OK SKIP", "OK"),
        ("OK FAIL", "FAIL"),
        ("FAIL RUN", "FAIL"),
        ("OK RUN", "RUN"),
        ("OK READY NEW", "RUN"),
        ("READY RUN NEW", "RUN"),
        ("OK K NEW", "NEW"),
        ("", "OK"),
    ],
)
def test_the_status_of_a_group_when_nothing_is_ready(members: str, expected: str) -> None:
    assert group_status(counts_of(members.split())) is SHORT[expected]


# -- executions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        pytest.param("K OK", DagStatus.KEY_SUCCEED, id="DS-01"),
        pytest.param("K RUN", DagStatus.RUNNING, id="DS-02"),
        pytest.param("K ST", DagStatus.KEY_SUCCEED, id="DS-03"),
        pytest.param("K SKIP", DagStatus.KEY_SUCCEED, id="DS-04"),
        pytest.param("K FAIL", DagStatus.FAILED, id="DS-05"),
        pytest.param("OK ST", DagStatus.KEY_SUCCEED, id="DS-08"),
        pytest.param("OK SKIP", DagStatus.SUCCEED, id="DS-09"),
        pytest.param("OK FAIL", DagStatus.FAILED, id="DS-10"),
        pytest.param("RUN ST", DagStatus.RUNNING, id="DS-11"),
        pytest.param("RUN SKIP", DagStatus.RUNNING, id="DS-12"),
        pytest.param("RUN FAIL", DagStatus.RUNNING, id="DS-13"),
        pytest.param("READY FAIL", DagStatus.RUNNING, id="ready"),
        pytest.param("", DagStatus.SUCCEED, id="no tasks"),
        pytest.param("OK NEW", None, id="nothing to be said"),
    ],
)
def test_the_status_of_an_execution_when_nothing_is_ready(
    tasks: str, expected: DagStatus | None
) -> None:
    assert scope_status(counts_of(tasks.split())) is expected


# -- categories ----------------------------------------------------------------------------


@pytest.mark.case("TCAT-01")
def test_categories_by_name() -> None:
    models = get_args(get_args(Task)[0])
    assert {model.model_fields["category"].default: model for model in models} == {
        "function": FunctionTask,
        "choice": ChoiceTask,
        "foreach": ForeachTask,
        "suspense": SuspenseTask,
        "pass": PassTask,
        "return": ReturnTask,
        "switch": SwitchTask,
    }


@pytest.mark.case("TCAT-01")
def test_only_foreach_and_choice_have_groups() -> None:
    models = get_args(get_args(Task)[0])
    assert {model for model in models if model.has_groups} == {ForeachTask, ChoiceTask}


@pytest.mark.case("TCAT-01")
@pytest.mark.parametrize("category", ["break", ""])
def test_other_categories_are_none(category: str) -> None:
    text = f"workspace: w\ndagName: d\ntype: flow\ntasks: [{{name: A, category: '{category}'}}]"
    with pytest.raises(DefinitionError):
        parse_definition(text)
