"""Executions are chosen in one form on every way, and a long list leaves out none that stays in it.

What is blank means any, and what cannot be is refused before it is asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import rillflow
from rillflow import errors
from rillflow.client.operations import (
    ListedExecution,
    ListExecutions,
    Redo,
    RedoMany,
    Request,
    named_tasks,
)
from rillflow.ports.storage.store import LATEST_MS

ID = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"


class Shelf:
    """A way to a stack that lists executions of these submit times, newest first."""

    def __init__(self, *times_ms: int, before: Callable[["Shelf"], object] | None = None) -> None:
        self.lines = lines_of(times_ms)
        self.asked: list[Request] = []
        self._before = before

    def perform(self, request: Request) -> Any:
        assert isinstance(request, ListExecutions)
        if self._before is not None and self.asked:
            self._before(self)
        self.asked.append(request)
        fitting = [
            one
            for one in self.lines
            if request.to_ms is None or one.submitted_at_ms <= request.to_ms
        ]
        first = (request.page - 1) * request.page_size
        return fitting[first : first + request.page_size]

    def close(self) -> None:
        self.lines.clear()


def lines_of(times_ms: Sequence[int]) -> list[ListedExecution]:
    return [
        ListedExecution(f"id{number}", "RUNNING", at_ms, "b", "f")
        for number, at_ms in enumerate(times_ms)
    ]


def listed(shelf: Shelf, limit: int) -> list[str]:
    found = rillflow.Client(transport=shelf).executions(status="Running", limit=limit)
    return [one.id for one in found]


# -- long lists ------------------------------------------------------------------------


def test_a_list_is_read_in_pages_as_long_as_a_server_gives() -> None:
    shelf = Shelf(*range(5000, 2500, -1))
    assert listed(shelf, 1200) == [f"id{n}" for n in range(1200)]
    assert shelf.asked == [
        ListExecutions(status="running", page_size=1000),
        ListExecutions(status="running", page_size=1000, to_ms=4001),
    ]


def test_a_list_leaves_out_none_although_others_leave_it_between_two_pages() -> None:
    shelf = Shelf(*range(5000, 2500, -1), before=lambda here: here.lines.__delitem__(slice(300)))
    found = listed(shelf, 5000)
    assert {one.id for one in shelf.lines} <= set(found)
    assert len(found) == len(set(found))


def test_what_comes_between_two_pages_is_not_listed() -> None:
    new = ListedExecution("new", "RUNNING", 9999, "b", "f")
    shelf = Shelf(*range(5000, 2500, -1), before=lambda here: here.lines.insert(0, new))
    assert listed(shelf, 5000) == [f"id{n}" for n in range(2500)]


@pytest.mark.parametrize("many", [1000, 1001, 2000, 2700])
def test_very_many_of_one_millisecond_are_told_apart_by_pages(many: int) -> None:
    times_ms = [9, *[8] * many, *[7] * many, 6]
    assert listed(Shelf(*times_ms), 9000) == [f"id{n}" for n in range(len(times_ms))]


def test_a_list_ends_where_there_is_no_more() -> None:
    shelf = Shelf()
    assert rillflow.Client(transport=shelf).executions(limit=5, from_ms=1, to_ms=2) == []
    assert shelf.asked == [ListExecutions(page_size=5, from_ms=1, to_ms=2)]


# -- what to choose by -----------------------------------------------------------------


def test_what_is_blank_is_not_given_and_spaces_around_do_not_count() -> None:
    blank = ListExecutions(business="", feature=" ", status="\t", code="")
    assert blank == ListExecutions()
    spaced = ListExecutions(business=" b", feature="f ", status=" FAILED ", code=" 1 ")
    assert spaced == ListExecutions(business="b", feature="f", status="failed", code="1")
    many = RedoMany(business="b", feature="f", code=" ", tasks=(" a ",))
    assert many == RedoMany(business="b", feature="f", tasks=("a",))


def test_a_list_of_what_cannot_be_is_refused_before_it_is_asked_for() -> None:
    client = rillflow.Client(transport=Shelf())
    with pytest.raises(errors.RequestError, match=r"no status ended; one of not_started, running"):
        client.executions(status="ended")
    with pytest.raises(errors.RequestError, match="at least one line, not 0"):
        client.executions(limit=0)
    for from_ms in (-1, LATEST_MS + 1):
        with pytest.raises(errors.RequestError, match=f"milliseconds, not {from_ms}"):
            client.executions(from_ms=from_ms)
        with pytest.raises(errors.RequestError, match=f"milliseconds, not {from_ms}"):
            client.executions(to_ms=from_ms)


def test_the_service_of_a_redo_of_many_has_two_parts() -> None:
    client = rillflow.Client(transport=Shelf())
    with pytest.raises(errors.InvalidIdError, match="format error"):
        client.redo_many("quickstart")
    for third in ("beta", f"md5_{32 * 'a'}", "beta:more"):
        with pytest.raises(errors.RequestError, match=f"is business:feature, not b:f:{third}: all"):
            client.redo_many(f"b:f:{third}")


def test_a_blank_name_of_a_task_does_not_mean_all_tasks() -> None:
    for blank in ("", " "):
        with pytest.raises(errors.RequestError, match="the name of a task is blank"):
            RedoMany(business="b", feature="f", tasks=("a", blank))
        with pytest.raises(errors.RequestError, match="the name of a task is blank"):
            Redo(execution_id=ID, tasks=(blank,), data={})


def test_a_list_of_no_names_does_not_mean_all_tasks_and_a_text_is_no_list() -> None:
    with pytest.raises(errors.RequestError, match="the list names no task; None means all"):
        named_tasks([])
    with pytest.raises(errors.RequestError, match=r"a list of names is wanted: \['train'\]"):
        named_tasks("train")
    assert named_tasks(None) == ()
    assert named_tasks(["train"]) == ("train",)
