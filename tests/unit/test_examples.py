"""Every example is a valid definition, says what it takes and gives, and calls what is there."""

import re
import runpy
from pathlib import Path
from typing import Final

import pytest

from rillflow.definition.parse import parse_definition

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FILES: Final = sorted(EXAMPLES.rglob("*.yaml"))
EACH_FILE: Final = pytest.mark.parametrize(
    "file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES))
)
CALL: Final = re.compile(r"http://127\.0\.0\.1:8081/(async-function|function)/(\w+)")
TASK_NAME: Final = re.compile(r"^ *- name: (\w+)$", re.MULTILINE)


@EACH_FILE
def test_an_example_is_a_valid_definition(file: Path) -> None:
    assert parse_definition(file.read_bytes()).tasks


@EACH_FILE
def test_an_example_says_what_goes_in_and_what_comes_out(file: Path) -> None:
    header = file.read_text(encoding="utf-8").split("workspace:")[0]
    assert "#   input    {" in header
    assert "#   result   " in header


@EACH_FILE
def test_an_example_calls_functions_that_exist(file: Path) -> None:
    [module] = file.parent.glob("*functions.py")
    functions = runpy.run_path(str(module))["app"]
    called = {name for _, name in CALL.findall(file.read_text(encoding="utf-8"))}
    assert called <= {*functions.names}


@EACH_FILE
def test_an_example_calls_asynchronously_what_it_waits_for_by_callback(file: Path) -> None:
    calls = re.findall(
        rf"pattern: (\w+)\n +resourceName: {CALL.pattern}", file.read_text(encoding="utf-8")
    )
    expected = {"async-function": "task_async", "function": "task_sync"}
    assert all(pattern == expected[route] for pattern, route, _ in calls)


def test_leaving_a_task_out_or_adding_one_changes_only_the_yaml() -> None:
    def tasks(name: str) -> list[str]:
        text = (EXAMPLES / "text-to-video" / name).read_text(encoding="utf-8")
        return TASK_NAME.findall(text)

    whole = tasks("workflow.yaml")
    assert tasks("workflow-no-polish.yaml") == [name for name in whole if name != "polish"]
    assert tasks("workflow-music.yaml") == [*whole, "music"]


def test_the_demo_says_what_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    folder = EXAMPLES / "text-to-video"
    demo = runpy.run_path(str(folder / "demo.py"))
    demo["print_next"](folder / "workflow.yaml", "video:film:md5_1", {"topic": "tea"})
    said = capsys.readouterr().out
    named = re.findall(r"[\w/-]+\.(?:md|yaml|py)", said)
    assert {"docs/http.md", "docs/language.md", "examples/text-to-video/workflow.yaml"} < {*named}
    assert all(Path(file).exists() for file in named)
    assert "make demo ARGS=--keep" in said
    assert 'submit video:film --data \'{"topic": "tea"}\' --wait' in said
