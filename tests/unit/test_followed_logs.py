"""`rillflow logs -f` prints each line of functions once, as it comes, until the execution ends."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from rillflow.cli.output.logs import added_text, follow_logs, print_logs
from rillflow.errors import RequestError


class PlayedExecution:
    """An execution of which each look shows the next of some logs; the last one has ended."""

    def __init__(self, looks: Sequence[dict[str, str]]) -> None:
        self._looks = list(looks)
        self.pauses = 0

    def status(self) -> str:
        return "RUNNING" if len(self._looks) > 1 else "SUCCEED"

    def tasks(self) -> dict[str, Any]:
        return {**{name: {"log": True} for name in self._looks[0]}, "other": {}}

    def log(self, name: str) -> list[dict[str, Any]]:
        text = self._looks[0].get(name)
        return [] if text is None else [{"name": "out", "text": text, "is_cut": False}]

    def pause(self) -> None:
        self.pauses += 1
        del self._looks[0]


def followed(looks: Sequence[dict[str, str]], task: str | None = None) -> bool:
    played: Any = PlayedExecution(looks)
    has_any = follow_logs(played, task, played.pause)
    assert played.pauses == len(looks) - 1
    return has_any


def test_each_line_is_printed_once_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [
        {},
        {"film": "one\ntw"},
        {"film": "one\ntwo\n", "cut": "a\n"},
        {"film": "one\ntwo\nend"},
    ]
    assert followed(looks)
    assert capsys.readouterr().out == "film: one\nfilm: two\ncut: a\nfilm: end\n"


def test_of_one_task_the_lines_are_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert followed([{"film": "one\n"}, {"film": "one\n\x1b[31mtwo"}], "film")
    out = capsys.readouterr().out
    assert out.startswith("one\n")
    assert "\x1b" not in out


def test_of_a_task_in_groups_it_is_what_all_its_calls_print(
    capsys: pytest.CaptureFixture[str],
) -> None:
    look = {"each_0-film": "one\n", "each_1-film": "two\n", "each_1-cut": "other\n"}
    assert followed([look], "film")
    assert capsys.readouterr().out == "each_0-film: one\neach_1-film: two\n"
    played: Any = PlayedExecution([look])
    assert print_logs(played, "film")
    assert capsys.readouterr().out == (
        "-- each_0-film, standard output\none\n-- each_1-film, standard output\ntwo\n"
    )
    assert print_logs(played, "each_1-film")
    assert capsys.readouterr().out == "two\n"


def test_where_nothing_is_printed_it_says_so() -> None:
    assert not followed([{}, {}])


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("x" * 1_000 + "end\n", "x" * 500 + "end\nmore\n", "more\n"),
        ("first attempt\n", "second\n", "second\n"),
        ("a\n", "", ""),
    ],
)
def test_of_a_log_that_was_cut_only_what_is_new_is_printed(
    before: str, now: str, added: str
) -> None:
    assert added_text(before, now) == added


FOREACH = {
    "task": {
        "name": "each",
        "tasks": [{"name": "film"}, {"choices": [{"tasks": [{"name": "cut"}]}]}],
    }
}


class UnprintedExecution(PlayedExecution):
    """An execution of a foreach whose groups have not begun."""

    id = "b:f_c_1"

    def tasks(self) -> dict[str, Any]:
        return {"each": FOREACH, "title": {"task": {"name": "title"}}}


@pytest.mark.parametrize("name", ["film", "cut", "title", "each"])
def test_a_known_task_without_a_log_is_no_error(name: str) -> None:
    played: Any = UnprintedExecution([{}])
    assert not print_logs(played, name)
    assert not follow_logs(played, name, played.pause)


def test_an_unknown_task_is_told_with_those_that_there_are() -> None:
    for called in (print_logs, partial(follow_logs, pause=list)):
        played: Any = UnprintedExecution([{}, {}])
        with pytest.raises(RequestError) as raised:
            called(played, "nosuch")
        assert str(raised.value) == "there is no task nosuch; there are each, title"


def test_a_task_in_a_group_that_may_still_begin_can_be_followed() -> None:
    played: Any = UnprintedExecution([{}, {"each_0-film": "one\n"}])
    assert follow_logs(played, "each_0-film", played.pause)
    with pytest.raises(RequestError):
        print_logs(UnprintedExecution([{}]), "each_0-film")  # type: ignore[arg-type] # a stand-in
