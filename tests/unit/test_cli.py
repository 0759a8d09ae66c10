"""The command line teaches with examples, does what a client does, and never shows a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.testing import CliRunner

from rillflow.cli.commands.serving import since_start_s
from rillflow.cli.reporting import ReportingGroup, report
from rillflow.errors import DefinitionError, Problem, StackError
from rillflow.jsontypes import JsonObject
from tests.loopback import closed_port
from tests.unit.commands import path, run, stand_in

OTHERS: Final = "others reach 0.0.0.0"
OPEN: Final = "without an API key 0.0.0.0 would be open to everybody"
ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
COMMANDS: Final = (
    *("up", "gateway", "add", "validate", "submit", "run", "get", "watch", "version", "db"),
    *("list", "cancel", "pause", "resume", "wake", "finish", "redo", "redo-many"),
)
SLOW_TO_IMPORT: Final = {
    *("aiohttp", "asyncpg", "fastapi", "httpx", "jsonschema"),
    *("msgspec", "pydantic", "ray", "starlette", "yaml"),
}
ENDED: Final[JsonObject] = {"execution_id": ID, "dag_status": "SUCCEED", "context": {"n": 1}}


# -- help ------------------------------------------------------------------------------


def test_without_arguments_it_lists_its_commands_and_a_first_round() -> None:
    _, shown, _ = run("--help")
    for command in COMMANDS:
        assert command in shown
    assert "rillflow submit examples:quickstart" in shown


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "version"])
def test_the_help_of_a_command_teaches_with_an_example(command: str) -> None:
    code, shown, _ = run(command, "--help")
    assert code == 0
    assert f"$ rillflow {command}" in shown or f"$(rillflow {command}" in shown


def test_help_is_quick_for_it_brings_nothing_but_what_prints_it() -> None:
    script = (
        "import sys; from rillflow.cli import app; app(standalone_mode=False); "
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    brought = set(_python("-c", script, "--help").stdout.splitlines()[-1].split())
    assert "typer" in brought
    assert not brought & SLOW_TO_IMPORT


def test_it_says_its_versions() -> None:
    code, shown, _ = run("version")
    assert code == 0
    assert shown.startswith("rillflow ")
    assert "ray 2." in shown
    assert run("--version") == (0, shown, "")


def test_it_ends_without_a_word_when_nobody_reads_its_output_any_more() -> None:
    with stand_in(**{path("get"): {"ret": ENDED}}) as (url, _):
        reading, writing = os.pipe()
        os.close(reading)
        command = (sys.executable, "-m", "rillflow.cli", "get", ID, "--json", "--url", url)
        ended = subprocess.run(  # noqa: S603 - this very Python
            command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
        )
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


# -- commands --------------------------------------------------------------------------


def test_adding_prints_the_descriptor_id(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("workspace: b\ndagName: f\n", encoding="utf-8")
    answer = {"ret": True, "descriptor_id": "b:f:md5_1"}
    with stand_in(**{"flow__bg__manage__descriptor__add_descriptor.json": answer}) as (url, asked):
        assert run("add", str(file), "--alias", "beta", "--url", url) == (0, "b:f:md5_1\n", "")
    assert asked[0]["query"] == {"business_id": "b", "feature_name": "f", "alias": "beta"}


SUSPICIOUS = """
workspace: b
dagName: f
type: flow
tasks:
  - name: one
    category: function
    pattern: task_sync
    resourceName: http://f.test/one
    inputMapping: []
"""


def test_adding_tells_what_is_suspicious(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(SUSPICIOUS, encoding="utf-8")
    answer = {"ret": True, "descriptor_id": "b:f:md5_1"}
    with stand_in(**{"flow__bg__manage__descriptor__add_descriptor.json": answer}) as (url, _):
        code, shown, told = run("add", str(file), "--url", url)
    assert (code, shown) == (0, "b:f:md5_1\n")
    assert told.startswith(f"{file}:10:5: warning ")
    assert "did you mean `inputMappings`?" in told


def test_validating_needs_no_server_and_tells_all_problems(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(SUSPICIOUS, encoding="utf-8")
    code, shown, told = run("validate", str(file))
    assert (code, shown) == (0, f"{file} is a valid definition, with warnings\n")
    assert "inputMapping" in told
    wrong = SUSPICIOUS.replace("task_sync", "task_snyc").replace("name: one", "name: my-one")
    file.write_text(wrong, encoding="utf-8")
    code, shown, told = run("validate", str(file))
    assert (code, shown) == (1, "")
    assert told.count(": error ") == 2
    assert f"{file}:6:11: error" in told


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_bytes(b"abc\xff")
    code, _, told = run("add", str(file))
    assert code == 2
    assert "is no UTF-8 text: byte 3 is 0xff" in " ".join(told.replace("│", " ").split())


def test_functions_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("x = (", encoding="utf-8")
    code, _, told = run("gateway", "--functions", str(file))
    assert code == 2
    assert "SyntaxError" in told


@pytest.mark.parametrize("way", ["text", "file", "input"])
def test_submitting_takes_its_data_from_text_file_or_input(tmp_path: Path, way: str) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"n": 1}', encoding="utf-8")
    data, said = {"text": ('{"n": 1}', ""), "file": (f"@{file}", ""), "input": ("-", '{"n": 1}')}[
        way
    ]
    with stand_in(**{path("submit"): {"execution_id": ID}}) as (url, asked):
        assert run("submit", "b:f", "-d", data, "--url", url, said=said) == (0, f"{ID}\n", "")
    assert json.loads(asked[0]["body"]) == {"n": 1}


def test_submitting_may_wait_for_the_result() -> None:
    answers = {path("submit"): {"execution_id": ID}, path("get"): {"ret": ENDED}}
    with stand_in(**answers) as (url, asked):
        code, shown, told = run("submit", "b:f", "--wait", "--dedicated", "--url", url)
    assert (code, json.loads(shown), told) == (0, {"n": 1}, f"{ID}\n")
    assert asked[0]["query"]["isolation"] == "dedicated"


def test_a_failure_is_told_with_the_hint_of_its_task() -> None:
    invoke = {"msg": "handle fails", "hint": "did you mean `rillflow`?"}
    failed = ENDED | {
        "dag_status": "FAILED",
        "tasks": {"one": {"name": "one", "status": "FAILED", "invoke_msg": invoke}},
    }
    answers = {path("submit"): {"execution_id": ID}, path("get"): {"ret": failed}}
    with stand_in(**answers) as (url, _):
        code, _, told = run("submit", "b:f", "--wait", "--url", url)
    assert code == 1
    last = told.splitlines()[-1]
    assert last.endswith("failed in one: handle fails (did you mean `rillflow`?)")


@pytest.mark.parametrize(("status", "expected"), [("SUCCEED", 0), ("FAILED", 1)])
def test_watching_ends_with_the_fate_of_the_execution(status: str, expected: int) -> None:
    with stand_in(**{path("get"): {"ret": ENDED | {"dag_status": status}}}) as (url, _):
        code, shown, _ = run("watch", ID, "--url", url)
    assert code == expected
    assert f"the execution ended: {status}" in shown


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "b:f"), "no answer from http://127.0.0.1:"),
        (("submit", "b:f", "-d", "{"), "--data is not JSON"),
        (("submit", "b:f", "-d", "[]"), "--data is not a JSON object"),
        (("submit", "b:f", "-d", "@missing.json"), "missing.json: No such file or directory"),
        (("add", "missing.yaml"), "missing.yaml: No such file or directory"),
        (("get", ID), "no answer"),
        (("watch", ID), "no answer"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(arguments: tuple[str, ...], message: str) -> None:
    code, shown, told = run(*arguments, "--url", f"http://127.0.0.1:{closed_port()}")
    assert (code, shown) == (1, "")
    assert len(told.splitlines()) == 1
    assert told.startswith("error: ")
    assert message in told


def test_a_refusal_is_told_in_plain_words() -> None:
    refusal = (400, {"error_code": 30106, "error": "cannot find descriptor: b:f:release"})
    with stand_in(**{path("submit"): refusal}) as (url, _):
        told = run("submit", "b:f", "--url", url)[2]
        assert told == "error: no definition is stored as b:f:release\n"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("not-it", "error: the API key in RILLFLOW_API_KEY is wrong\n"),
        (" ", "error: the server asks for an API key: set RILLFLOW_API_KEY; only the key of a st"),
        (None, "error: the server asks for an API key: set RILLFLOW_API_KEY; only the key of a st"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_told_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, key: str | None, said: str
) -> None:
    monkeypatch.delenv("RILLFLOW_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("RILLFLOW_API_KEY", key)
    message = "the API key in X-Rillflow-Api-Key or Authorization is wrong"
    answer = (401, {"error_code": 30108, "error": message})
    listing = "flow__bg__get_execution_ids.json"
    with stand_in(**{path("get"): answer, listing: answer}) as (url, _):
        for command in (("get", ID), ("list",)):
            code, shown, told = run(*command, "--url", url)
            assert (code, shown) == (1, "")
            assert told.startswith(said)
            assert "X-Rillflow" not in told


def test_a_refusal_is_told_with_the_servers_hint() -> None:
    refusal = (400, {"error_code": 30109, "error": "it is not so", "hint": "alias: no"})
    with stand_in(**{path("submit"): refusal}) as (url, _):
        assert run("submit", "b:f", "--url", url)[2] == "error: it is not so (alias: no)\n"


def test_a_definition_with_problems_shows_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    problems = (
        Problem(30413, "unknown next: c", 4, 7, "did you mean b?"),
        Problem(30405, "no tasks"),
    )
    report(DefinitionError(30413, "unknown next: c", problems))
    assert capsys.readouterr().err.splitlines() == [
        "error: unknown next: c",
        "  line 4, column 7: unknown next: c (did you mean b?)",
        "  no tasks",
    ]


def test_an_error_of_the_system_without_a_file_is_told_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(OSError("the network is down"))
    assert capsys.readouterr().err == "error: the network is down\n"


def test_functions_that_are_not_there_are_named() -> None:
    code, _, told = run("gateway", "--functions", "missing.py")
    assert code != 0
    assert "missing.py" in told
    assert "Traceback" not in told


def test_a_port_that_does_not_exist_is_refused() -> None:
    code, _, told = run("gateway", "--functions", "examples/functions.py", "--port", "65536")
    assert code == 2
    assert "--port" in told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = ", "rillflow.toml: Invalid value (at end of document)"),
        (
            'egres_deny = ["10.0.0.0/8"]',
            "rillflow.toml: there is no setting egres_deny, did you mean egress_deny?",
        ),
    ],
)
def test_a_broken_file_of_settings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rillflow.toml").write_text(text)
    assert run("db", "status") == (1, "", f"error: a setting is wrong: {problem}\n")


def test_a_broken_setting_stops_the_start(tmp_path: Path) -> None:
    code, _, told = run("up", "--port", "70000", "--data-dir", str(tmp_path))
    assert code == 1
    assert told.startswith("error: the setting port is wrong")


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (("--host", "0.0.0.0"), {}, f"{OPEN}: set RILLFLOW_API_KEY (or have rillflow up --key m"),
        (("--host", "::"), {}, "without an API key :: would be open"),
        (("--host", "192.0.2.1"), {}, "without an API key 192.0.2.1 would be open"),
        ((), {"API_KEY": ""}, "the setting api_key is wrong: a key is one word"),
        ((), {"CALLBACK_KEYS": "new,"}, "the setting callback_keys.1 is wrong: a key is one"),
        (
            (),
            {"AUTH_BUSINESSES": "shop"},
            "the settings are wrong: auth_businesses needs auth_secret",
        ),
        ((), {"EGRESS_DENY": "10.0.0.0/33"}, "the setting egress_deny.0 is wrong: '10.0.0.0/33'"),
        (("--functions", "os;sys"), {}, "the setting ray_modules.0 is wrong: 'os;sys' is no name"),
        # These get as far as an address that this machine does not have.
        (("--host", "192.0.2.1", "--insecure"), {}, "cannot listen on 192.0.2.1"),
        (("--host", "192.0.2.1"), {"INSECURE": "true"}, "cannot listen on 192.0.2.1"),
        (("--host", "192.0.2.1"), {"API_KEY": "k" * 16}, "cannot listen on 192.0.2.1"),
        (("--host", "0.0.0.0"), {"API_KEY": "k" * 15}, f"{OTHERS}, and api_key (RILLFLOW_API_KEY)"),
        (
            ("--host", "0.0.0.0"),
            {"API_KEY": "k" * 16, "CALLBACK_KEYS": f"{'n' * 16},old"},
            f"{OTHERS}, and callback_keys (RILLFLOW_CALLBACK_KEYS) can be guessed: take 16 charact",
        ),
    ],
)
def test_what_is_not_safe_is_not_started(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    environment: dict[str, str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"RILLFLOW_{name}", value)
    code, _, told = run("up", "--port", "0", "--data-dir", str(tmp_path), *options)
    assert code == 1
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1


def test_functions_of_a_file_that_is_not_there_are_not_served(tmp_path: Path) -> None:
    missing = str(tmp_path / "pipeline.py")
    code, _, told = run("up", "--port", "0", "--data-dir", str(tmp_path), "--functions", missing)
    assert code == 2
    assert "--functions: there is no file" in told


def test_functions_that_cannot_be_imported_are_refused_before_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n", encoding="utf-8")
    for named, said in (
        ("no_such_module.of_mine", "thereisnomoduleno_such_module.of_mine"),
        (str(broken), "broken.py:1isnoPython"),
    ):
        code, _, told = run("up", "--port", "0", "--data-dir", str(tmp_path), "--functions", named)
        assert code == 2
        assert said in "".join(told.replace("│", "").split())


def test_a_command_of_its_own_process_ends_without_a_traceback() -> None:
    ended = _python("-m", "rillflow.cli", "get", ID, "--url", f"http://127.0.0.1:{closed_port()}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no answer")


def test_what_is_not_raised_on_purpose_is_not_hidden() -> None:
    broken = typer.Typer(cls=ReportingGroup, pretty_exceptions_enable=False)

    @broken.command()
    def crash() -> None:
        raise ZeroDivisionError

    @broken.command()
    def refuse() -> None:
        raise StackError("on purpose")

    shown = CliRunner().invoke(broken, ["crash"])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Traceback")
    assert shown.stderr.endswith("ZeroDivisionError\n")
    assert CliRunner().invoke(broken, ["refuse"]).stderr == "error: on purpose\n"


def test_the_age_of_this_process_is_known() -> None:
    assert 0 < since_start_s() < time.clock_gettime(time.CLOCK_BOOTTIME)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments], capture_output=True, text=True, check=False
    )


def test_up_warns_of_a_misspelt_variable_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_PROT", "9000")
    code, _, errors = run("up", "--host", "0.0.0.0")
    assert code != 0
    assert errors.startswith(
        "warning: there is no setting RILLFLOW_PROT; did you mean RILLFLOW_PORT?\n"
    )


def test_up_warns_of_a_switch_that_decides_nothing_and_refuses_one_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SWITCHES", '{"ENABLE_FLOW_STASH": true}')
    _, _, errors = run("up", "--host", "0.0.0.0")
    assert errors.startswith("warning: the switch ENABLE_FLOW_STASH has no effect here\n")
    monkeypatch.setenv("RILLFLOW_SWITCHES", '{"ENABLE_FLOW_STAHS": true}')
    code, _, errors = run("up", "--host", "0.0.0.0")
    assert code == 1
    assert errors == (
        "error: the setting switches is wrong: there is no switch ENABLE_FLOW_STAHS,"
        " did you mean ENABLE_FLOW_STASH?\n"
    )
