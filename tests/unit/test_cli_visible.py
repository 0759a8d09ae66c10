"""What functions and callers said reaches a terminal as text, and never as its commands."""

import io
import json
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console
from rich.table import Table
from typer import BadParameter, Typer
from typer.testing import CliRunner

import rillflow
from rillflow.cli.output.console import VisibleConsole
from rillflow.cli.output.listing import detail_of, show_list
from rillflow.cli.output.progress import follow
from rillflow.cli.output.showing import show_execution, show_task
from rillflow.cli.reporting import ReportingGroup
from rillflow.cli.visible import visible
from rillflow.client.instances import runs_of
from rillflow.client.operations import ListedExecution
from tests.unit.commands import path, run, stand_in
from tests.unit.test_cli_progress import Looks

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
BAD: Final = "hi \x1b]0;pwned\x07\x1b[2J\x1b[31mRED \u202e rtl\x08 \x9b31m\x7f end"
ESCAPED: Final = "\\x1b]0;pwned\\x07\\x1b[2J\\x1b[31mRED \\u202e rtl\\x08 \\x9b31m\\x7f"
TASK: Final = {
    "name": "a",
    "status": "FAILED",
    "task": {"category": BAD},
    "invoke_msg": {
        "msg": BAD,
        "input": {BAD: BAD},
        "output": BAD,
        "invoke_time_infos": [
            {"start_time": 1, "end_time": 2, "error": BAD},
            {"start_time": 3, "end_time": 4, "error": BAD},
        ],
    },
}
VIEW: Final[dict[str, Any]] = {
    "execution_id": ID,
    "dag_status": "FAILED",
    "dag_invoke_msg": {"msg": BAD, "invoke_time_infos": [{"start_time": 1, "end_time": 2}]},
    "context": {BAD: BAD},
    "quarantine": BAD,
    "tasks": {"a": TASK},
}


def controls(shown: str) -> set[str]:
    """The characters of a text that a terminal obeys, line ends aside."""
    return {c for c in shown if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}


def watched(console: Console) -> None:
    with rillflow.Client(transport=Looks(VIEW | {"dag_status": "RUNNING"}, VIEW)) as client:
        follow(client.execution(ID), every_s=0, console=console)


def listed(console: Console) -> None:
    one = ListedExecution(ID + BAD, "FAILED" + BAD, 1, "b", "f")
    show_list(console, [one], lambda _: detail_of(VIEW), 10)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "show",
    [
        lambda console: show_execution(console, VIEW, {"a": TASK}, 10),
        lambda console: show_task(console, "a", TASK, runs_of(VIEW, 10), whole=False),
        lambda console: show_task(console, "a", TASK, runs_of(VIEW, 10), whole=True),
        listed,
        watched,
        lambda console: console.print(BAD),
        lambda console: console.print(Table(BAD)),
    ],
)
def test_what_people_read_holds_no_control_characters(
    show: Callable[[Console], None], *, terminal: bool
) -> None:
    # Without colours and a terminal of no abilities, all control characters are of the texts.
    shown = io.StringIO()
    console = VisibleConsole(
        file=shown,
        width=900,
        force_terminal=terminal,
        color_system=None,
        highlight=False,
        markup=False,
        quiet=False,
    )
    show(console)
    text = shown.getvalue()
    assert "\\x1b]0;pwned" in text
    assert "\x1b]" not in text
    assert "\x1b[2J\x1b[31m" not in text
    assert not {c for c in text if "\x80" <= c <= "\x9f" or c in "\x07\x7f\u202e"}


def test_results_and_views_are_the_same_json_without_control_characters() -> None:
    with stand_in(**{path("get"): {"ret": VIEW}}) as (url, _):
        _, printed, _ = run("get", ID, "--url", url, "--json")
    assert not controls(printed)
    assert json.loads(printed)["context"] == {BAD: BAD}


def test_errors_hold_no_control_characters() -> None:
    refused = (400, {"code": 30001, "error_code": 30001, "message": BAD, "error": BAD})
    with stand_in(**{path("get"): refused}) as (url, _):
        code, _, told = run("get", ID, "--url", url)
    assert code == 1
    assert not controls(told)
    assert "\\x1b[2J" in told


@pytest.mark.parametrize("form", ["text", "github", "json"])
def test_problems_of_a_file_hold_no_control_characters(tmp_path: Any, form: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        'workspace: w\ndagName: d\ntype: flow\ntasks:\n- {name: a, category: "\\e[2Jx\\u202e"}\n',
        encoding="utf-8",
    )
    _, printed, told = run("validate", str(file), "--format", form)
    assert not controls(printed + told)
    assert "\\u001b[2J" in printed if form == "json" else "\\x1b[2J" in printed + told


def test_line_ends_and_tabs_and_all_letters_stay() -> None:
    assert visible("a\tb\nc\r\nd é 日本 🎉 עברית") == "a\tb\nc\nd é 日本 🎉 עברית"
    assert visible("over\rwritten") == "over\\x0dwritten"
    assert visible(BAD).removeprefix("hi ").removesuffix(" end") == ESCAPED


def test_a_damaged_database_is_told_without_control_characters(tmp_path: Path) -> None:
    folder = tmp_path / "of \x1b]0;pwned\x07"
    folder.mkdir()
    file = folder / "rillflow.db"
    assert run("db", "upgrade", "--store", f"sqlite://{file}")[0] == 0
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO definitions VALUES (?, '[')", (BAD + "\nverified",))
        connection.commit()
    code, shown, told = run("db", "verify", str(file))
    assert code == 1
    assert "pwned" in shown
    assert "\\nverified" in told
    _, status, _ = run("db", "status", "--data-dir", str(folder))
    assert "pwned" in status
    assert not controls(shown + told + status)


def test_a_cluster_and_logs_hold_no_control_characters() -> None:
    actor = {"name": BAD, "ready": True, "current": True, "node": BAD, "partitions": 0, "calls": 0}
    reasons = {"reasons": [{"message": BAD}], "causes": [BAD]}
    state = {"converged": False, "actors": [actor], "silent": [BAD], "controller": reasons}
    stream = {"name": "out", "text": BAD, "is_cut": False}
    logged = {"ret": {"execution_id": ID, "streams": [stream]}}
    answers = {"cluster": state, "logs": logged}
    with stand_in(**{path(name): answer for name, answer in answers.items()}) as (url, _):
        said = [
            run("cluster", "status", "--url", url),
            run("logs", ID, "a", "--url", url),
        ]
    for _, shown, told in said:
        assert "pwned" in shown, told
        assert not controls(shown + told)


def test_ids_of_a_server_hold_no_control_characters() -> None:
    line = {"execution_id": BAD, "submit_time": 5, "status": BAD}
    listed_ = {"items": [line | {"business_id": "b", "feature_id": "f"}], "total": 1}
    submitted = {"execution_id": BAD}
    listing = "flow__bg__get_execution_ids.json"
    with stand_in(**{listing: listed_, path("submit"): submitted}) as (url, _):
        said = [
            run("list", "--ids", "--url", url),
            run("list", "--url", url),
            run("submit", "b:f", "--url", url),
        ]
    for _, shown, told in said:
        assert "pwned" in shown + told
        assert not controls(shown + told)


def test_a_traceback_holds_no_control_characters() -> None:
    broken = Typer(cls=ReportingGroup)

    @broken.command()
    def crash() -> None:
        raise ValueError(BAD)

    @broken.command()
    def refuse() -> None:
        raise BadParameter(BAD)

    for command in ("crash", "refuse"):
        told = CliRunner().invoke(broken, [command]).stderr
        assert "pwned" in told
        assert not controls(told)


def test_an_error_of_a_server_is_one_line() -> None:
    """Its further lines could pass for lines of the command's own."""
    body = {"error_code": 30101, "error": "gone\nerror: forged\rdone", "hint": "a\nb"}
    with stand_in(**{path("get"): (404, body)}) as (url, _):
        _, shown, told = run("get", ID, "--url", url)
    assert shown == ""
    assert told.count("\n") == 1
    assert "gone\\nerror: forged" in told
