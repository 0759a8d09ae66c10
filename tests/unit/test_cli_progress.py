"""What is watched is a table that ticks and fits the screen, or a line for each change."""

from typing import Any, Final

import pytest
from rich.console import Console

import rillflow
from rillflow.cli.output.progress import LONGEST_MESSAGE, MOST_GROUPS, ProgressTable, follow
from rillflow.client.watching import Look
from rillflow.errors import RillflowError, UnreachableError
from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
ENDED: Final = {"execution_id": ID, "dag_status": "SUCCEED", "context": {}, "tasks": {}}
QUIET: Final = Console(quiet=True)
QUIET_PIPE: Final = Console(quiet=True, force_terminal=False)
WIDTH: Final = 80
HEIGHT: Final = 24


class Looks:
    """A way to a stack that shows an execution in one state after the other, then the last."""

    def __init__(self, *shown: dict[str, Any] | RillflowError) -> None:
        self._shown = list(shown)

    def perform(self, _: object) -> Any:
        look = self._shown.pop(0) if len(self._shown) > 1 else self._shown[0]
        if isinstance(look, RillflowError):
            raise look
        return look

    def close(self) -> None:
        self._shown.clear()


def task(status: str, *times: tuple[int, int | None, str | None], **more: Any) -> dict[str, Any]:
    """A task with attempts of start, end and error; ``msg`` is its message."""
    infos = [
        {"start_time": start} | ({"end_time": end} if end else {}) | ({"error": e} if e else {})
        for start, end, e in times
    ]
    invoke = {"invoke_time_infos": infos, **({"msg": more.pop("msg")} if "msg" in more else {})}
    return {"status": status, "invoke_msg": invoke, **more}


def table_of(tasks: dict[str, Any], **view: Any) -> ProgressTable:
    """A table that has seen these tasks at 10 s, when the machine's clock was at 10,000 ms."""
    table = ProgressTable()
    shown = {"execution_id": ID, "dag_status": "RUNNING", **view}
    table.note(Look(shown, tasks, []), at_s=10, now_ms=10_000)
    return table


def lines(table: ProgressTable, at_s: float = 10, *, height: int = HEIGHT) -> list[str]:
    """The lines of the table below its heading."""
    console = Console(record=True, width=WIDTH, quiet=False, force_terminal=True)
    console.print(table.render(at_s, WIDTH, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def followed(*, terminal: bool) -> str:
    """What is shown of an execution of which one task fails."""
    running = ENDED | {
        "dag_status": "RUNNING",
        "tasks": {"a": task("RUNNING"), "b": task("NOT_STARTED")},
    }
    failed = ENDED | {
        "dag_status": "FAILED",
        "tasks": {"a": task("FAILED", msg="[out] of ink"), "b": task("NOT_STARTED")},
    }
    console = Console(record=True, force_terminal=terminal, width=100, quiet=False)
    with rillflow.Client(transport=Looks(running, failed)) as client:
        assert follow(client.execution(ID), every_s=0, console=console) == "FAILED"
    return console.export_text()


def test_the_end_that_was_seen_is_told_although_the_server_goes_away_then() -> None:
    looks = Looks(ENDED, UnreachableError("the server restarts"))
    assert follow(rillflow.Client(transport=looks).execution(ID), console=QUIET) == "SUCCEED"


def test_without_a_terminal_each_change_is_a_line() -> None:
    shown = [line.split(" s  ")[-1].rstrip() for line in followed(terminal=False).splitlines()]
    assert shown == [
        "RUNNING      a",
        "FAILED       a  [out] of ink",
        "the execution ended: FAILED",
    ]


def test_in_a_terminal_there_is_a_table_of_all_tasks() -> None:
    text = followed(terminal=True)
    assert "a  FAILED" in text
    assert "[out] of ink" in text
    assert "b  NOT_STARTED" in text


def test_times_go_on_between_two_looks_and_stand_still_at_the_end() -> None:
    table = table_of(
        {"a": task("RUNNING", (8_000, None, None)), "b": task("SUCCEEDED", (1_000, 4_000, None))},
        dag_invoke_msg={"invoke_time_infos": [{"start_time": 1_000}]},
    )
    for at_s, of_all, of_a in ((10.0, "9.0 s", "2.0 s"), (12.5, "11.5 s", "4.5 s")):
        _, heading, first, second = lines(table, at_s)
        assert of_all in heading
        assert first.endswith(of_a)
        assert second.endswith("3.0 s")


def test_a_task_counts_from_its_first_attempt_and_says_which_one_it_is_at() -> None:
    times = [(1_000, 2_000, "no disk"), (4_000, None, None)]
    [line] = lines(table_of({"a": task("RUNNING", *times)}))[2:]
    assert "9.0 s" in line
    assert line.endswith("attempt 2: no disk")


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"fraction": 0.4, "message": "frame 12\nof \x1b30"}, "40 %, frame 12 of \\x1b30"),
        ({"fraction": 1}, "100 %"),
        ({"message": "cutting"}, "cutting"),
        ({"time": 1}, "1.0 s"),
    ],
)
def test_a_task_that_runs_shows_its_progress(progress: dict[str, Any], shown: str) -> None:
    times = (9_000, None, None)
    [line] = lines(table_of({"a": task("RUNNING", times, progress=progress)}))[2:]
    assert line.endswith(f"  {shown}")
    [line] = lines(table_of({"a": task("SUCCEEDED", times, progress=progress)}))[2:]
    assert line.endswith("  1.0 s")


def test_a_success_does_not_say_what_an_earlier_attempt_said() -> None:
    times = [(1_000, 2_000, "no disk"), (4_000, 5_000, None)]
    [line] = lines(table_of({"a": task("SUCCEEDED", *times, msg="no disk")}))[2:]
    assert line.endswith("attempt 2")


def test_failures_come_first_and_then_all_in_order() -> None:
    groups = {"0": "FAILED", "1": "RUNNING"}
    tasks = {
        "first": task("SUCCEEDED"),
        "each": task("RUNNING", sub_group_index_to_status=groups, msg="no"),
        "last": task("NOT_STARTED"),
        "each_0-in": task("FAILED", msg="no"),
        "each_1-in": task("RUNNING"),
        "each_1-in_0-most": task("RUNNING"),
    }
    shown = lines(table_of(tasks))[2:]
    assert [line.split("  ")[0] or line.strip().split()[0] for line in shown] == [
        *("each_0-in", "first", "each", "each_1-in", "each_1-in_0-most", "last")
    ]
    assert shown[2].endswith("1 of 2 groups, 1 failed")
    assert shown[4].startswith("    each_1-in_0-most")


@pytest.mark.parametrize("height", [12, 24, 40])
def test_a_thousand_tasks_fit_the_screen_and_the_rest_is_counted(height: int) -> None:
    tasks = {f"done{n}": task("SUCCEEDED", (n, n + 1, None)) for n in range(900)}
    tasks |= {f"busy{n}": task("RUNNING", (9_000, None, None)) for n in range(3)}
    tasks |= {f"bad{n}": task("FAILED", msg="no") for n in range(2)}
    tasks |= {f"next{n}": task("NOT_STARTED") for n in range(95)}
    shown = lines(table_of(tasks), height=height)
    assert len(shown) < height
    text = "\n".join(shown)
    assert shown[2].startswith("bad0")
    assert all(name in text for name in ("bad1", "busy0", "busy1", "busy2", "done899"))
    rows = len(shown) - 3
    assert shown[-1].startswith(f"and {1000 - rows} more: ")
    assert "905 of 1000" not in text
    assert "902 of 1000 tasks through" in shown[1]


def test_of_very_many_groups_the_task_counts_those_that_were_not_read() -> None:
    groups = {str(n): "SUCCEED" for n in range(10_000)} | {"3": "FAILED", "9": "RUNNING"}
    tasks = {"each": task("RUNNING", sub_group_index_to_status=groups)}
    tasks |= {f"each_{n}-in": task("FAILED", msg="no") for n in range(MOST_GROUPS)}
    shown = lines(table_of(tasks))
    assert len(shown) < HEIGHT
    assert "9999 of 10000 groups, 1 failed" in "\n".join(shown)
    assert "more:" not in shown[-1]


def test_of_very_many_groups_those_are_read_that_failed_or_run() -> None:
    statuses = ["SUCCEED"] * 500 + ["FAILED"] * 100 + ["RUNNING"] * 100 + ["READY"] * 500
    groups = {str(n): status for n, status in enumerate(statuses)}
    view = ENDED | {"tasks": {"each": task("RUNNING", sub_group_index_to_status=groups)}}
    asked: list[int] = []

    class Counting:
        def perform(self, request: Any) -> Any:
            if request.part == "children":
                asked.append(request.index)
                return {}
            return view

        def close(self) -> None:
            asked.clear()

    execution = rillflow.Client(transport=Counting()).execution(ID)
    assert len(list(execution.looks(most_groups=40))) == 1
    assert asked == [*range(500, 520), *range(600, 620)]
    asked.clear()
    execution.tasks(failed=True)
    assert asked == [*range(500, 700)]


def test_a_very_long_name_or_message_takes_no_second_line() -> None:
    shown = lines(table_of({"a" * 200: task("FAILED", msg="m " * 200)}))
    assert len(shown) == 3
    assert len(shown[2]) <= WIDTH


def test_a_silence_of_the_server_is_seen_and_times_stand_still_until_the_next_look() -> None:
    table = table_of({"a": task("RUNNING", (8_000, None, None))})
    table.note_silence(at_s=11, patience_s=60)
    shown = lines(table, at_s=23)
    assert shown[2].endswith("3.0 s")
    assert shown[3] == "the server has not answered for 12.0 s; retrying for up to 60 s"
    table.note(Look({}, {"a": task("RUNNING", (8_000, None, None))}, []), at_s=30, now_ms=30_000)
    assert [line for line in lines(table, at_s=30) if "not answered" in line] == []


def test_in_a_terminal_a_silence_writes_nothing_beside_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = ENDED | {"dag_status": "RUNNING", "tasks": {"a": task("RUNNING")}}
    looks = Looks(running, UnreachableError("gone"), running, ENDED)
    console = Console(record=True, force_terminal=True, width=WIDTH, quiet=False)
    assert follow(rillflow.Client(transport=looks).execution(ID), every_s=0, console=console)
    assert capsys.readouterr().err == ""
    looks = Looks(running, UnreachableError("gone"), running, ENDED)
    follow(rillflow.Client(transport=looks).execution(ID), every_s=0, console=QUIET_PIPE)
    assert "the server does not answer" in capsys.readouterr().err


def test_lines_leave_room_for_what_ctrl_c_echoes() -> None:
    tasks = {f"task{n}": task("FAILED", (1, 2, None), msg="m " * 200) for n in range(60)}
    table = table_of(tasks)
    table.note_silence(at_s=10, patience_s=60)
    for width in (50, WIDTH):
        console = Console(record=True, width=width, quiet=False, force_terminal=True)
        console.print(table.render(10, width, HEIGHT))
        shown = [line.rstrip() for line in console.export_text().splitlines()]
        assert max(map(len, shown[2:])) <= width - 3
        assert len(shown) < HEIGHT


def test_a_line_about_an_attempt_that_is_to_be_repeated_says_that_it_failed() -> None:
    again = {"a": task("READY", (1_000, 2_000, "no disk"), msg="no disk")}
    looks = Looks(ENDED | {"dag_status": "RUNNING", "tasks": again}, ENDED)
    console = Console(record=True, force_terminal=False, width=WIDTH, quiet=False)
    follow(rillflow.Client(transport=looks).execution(ID), every_s=0, console=console)
    assert console.export_text().splitlines()[0].endswith("a  attempt 1 failed: no disk")


def test_a_message_in_a_line_of_its_own_is_whole_or_seen_to_be_cut() -> None:
    why = "`$.context.nmae` does not exist, and nothing in the definition gives it a value"
    failed = {"a": task("FAILED", msg=f"{why}; did you mean `$.context.name`?")}
    failed["b"] = task("FAILED", msg="m " * LONGEST_MESSAGE)
    looks = Looks(ENDED | {"dag_status": "FAILED", "tasks": failed})
    console = Console(record=True, force_terminal=False, width=WIDTH, quiet=False)
    follow(rillflow.Client(transport=looks).execution(ID), every_s=0, console=console)
    first, second, *_ = console.export_text().splitlines()
    assert first.endswith(f"{why}; did you mean `$.context.name`?")
    assert second.endswith("…")
    assert len(second) < LONGEST_MESSAGE + 40


def test_watch_says_where_and_why_it_failed() -> None:
    failed = {"a": task("FAILED", msg="out of ink, " * 20 + "and of paper")}
    message = {"dag_invoke_msg": {"msg": failed["a"]["invoke_msg"]["msg"]}}
    view = ENDED | {"dag_status": "FAILED", "tasks": failed, **message}
    with stand_in(**{path("get"): {"ret": view}}) as (url, _):
        code, shown, told = run("watch", ID, "--url", url)
    assert code == 1
    assert shown.endswith("the execution ended: FAILED\n")
    assert told.startswith(f"error: {ID} failed in a: out of ink")
    assert told.endswith("and of paper\n")
