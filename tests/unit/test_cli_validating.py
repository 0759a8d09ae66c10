"""``rillflow validate`` checks files and folders, for people and for continuous integration."""

import json
from pathlib import Path
from typing import Final

import pytest

from rillflow.cli.checking import find_files
from rillflow.cli.commands.validating import annotation
from rillflow.errors import Problem
from tests.machine_speed import processor_time
from tests.unit.commands import run

GOOD: Final = "workspace: w\ndagName: good\ntype: flow\ntasks:\n- {name: A, category: pass}\n"
WARNED: Final = GOOD.replace("category: pass", "category: return")
WRONG: Final = GOOD.replace("name: A", "name: A-1")
NOT_OURS: Final = "services: {web: {image: nginx}}\n"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    files = {
        "good.yaml": GOOD,
        "more/warned.yml": WARNED,
        "more/deep/wrong.json": WRONG,
        "compose.yaml": NOT_OURS,
        "notes.txt": WRONG,
        ".hidden/wrong.yaml": WRONG,
        "more/.wrong.yaml": WRONG,
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_folder_is_searched_for_definitions(folder: Path) -> None:
    code, shown, told = run("validate", str(folder))
    assert code == 1
    assert shown == (
        "3 definitions: 1 without problems, 1 with warnings, 1 with errors;"
        f" skipped, without a dagName: {folder / 'compose.yaml'}\n"
    )
    assert [line.partition(": ")[0] for line in told.splitlines()] == [
        f"{folder / 'more/warned.yml'}:5:3",
        f"{folder / 'more/deep/wrong.json'}:5:10",
    ]


def test_a_definition_with_namespace_and_service_is_found_in_a_folder(tmp_path: Path) -> None:
    older = GOOD.replace("workspace", "namespace").replace("dagName", "service")
    (tmp_path / "older.yaml").write_text(older, encoding="utf-8")
    (tmp_path / "other.yaml").write_text("service: s\ntasks: []\n", encoding="utf-8")
    assert find_files([tmp_path]).files == (tmp_path / "older.yaml",)


def test_the_help_says_of_what_a_strict_check_warns() -> None:
    _, shown, _ = run("validate", "--help")
    assert "--strict also warns of expressions that only Rillflow accepts" in " ".join(
        shown.split()
    )


def test_a_file_that_is_named_is_checked_whatever_it_holds(folder: Path) -> None:
    assert run("validate", str(folder / "compose.yaml"))[0] == 1
    assert run("validate", str(folder / "notes.txt"))[0] == 1


def test_a_file_is_checked_once(folder: Path) -> None:
    good = folder / "good.yaml"
    code, shown, _ = run("validate", str(good), str(good))
    assert (code, shown) == (0, f"{good} is a valid definition\n")


def test_warnings_count_when_it_is_strict_and_errors_count_more(folder: Path) -> None:
    good, warned = str(folder / "good.yaml"), str(folder / "more/warned.yml")
    assert run("validate", good, "--strict")[0] == 0
    assert run("validate", good, warned)[0] == 0
    assert run("validate", good, warned, "--strict")[0] == 3
    assert run("validate", str(folder), "--strict")[0] == 1


def test_what_only_rillflow_takes_is_told_where_the_check_is_strict(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    rule = "{transform: 'seq.add_all(source, source)', target: $.context.a}"
    file.write_text(f"{GOOD[:-2]}, outputMappings: [{rule}]}}\n", encoding="utf-8")
    assert run("validate", str(file)) == (0, f"{file} is a valid definition\n", "")
    code, shown, told = run("validate", str(file), "--strict", "--format", "json")
    assert (code, told) == (3, "")
    (problem,) = json.loads(shown)["files"][0]["problems"]
    assert (problem["kind"], problem["severity"]) == ("extension", "warning")
    assert "only Rillflow takes seq.add_all" in problem["message"]


def test_annotations_of_github_are_on_standard_output(folder: Path) -> None:
    code, shown, told = run("validate", str(folder), "--strict", "--format", "github")
    assert code == 1
    first, second = shown.splitlines()
    warned, wrong = folder / "more/warned.yml", folder / "more/deep/wrong.json"
    assert first == (
        f"::warning file={warned},line=5,col=3,title=rillflow 30406"
        "::a return task without conditions fails"
    )
    assert second.startswith(f"::error file={wrong},line=5,col=10,title=rillflow 30408::A-1 is not")
    assert told.startswith("3 definitions: ")


def test_an_annotation_is_one_line_whatever_it_says() -> None:
    problem = Problem(1, "100%\r\nof: a,b ::error::", hint="x\ny")
    assert annotation("a,b:c%.yaml", problem) == (
        "::error file=a%2Cb%3Ac%25.yaml,title=rillflow 1::100%25%0D%0Aof: a,b ::error:: (x%0Ay)"
    )


def test_json_has_everything(folder: Path) -> None:
    code, shown, told = run("validate", str(folder), "--format", "json")
    assert (code, told) == (1, "")
    found = json.loads(shown)
    assert [(one["file"], one["valid"]) for one in found["files"]] == [
        (str(folder / "good.yaml"), True),
        (str(folder / "more/warned.yml"), True),
        (str(folder / "more/deep/wrong.json"), False),
    ]
    assert (found["errors"], found["warnings"]) == (1, 1)
    assert found["passed_over"] == [str(folder / "compose.yaml")]
    problem = found["files"][1]["problems"][0]
    assert problem["severity"] == "warning"
    assert (problem["code"], problem["line"], problem["column"]) == (30406, 5, 3)


def test_a_file_that_is_no_text_is_told_with_the_others(folder: Path) -> None:
    (folder / "binary.yaml").write_bytes(b"dagName: \xff")
    code, _, told = run("validate", str(folder))
    assert code == 1
    assert f"{folder / 'binary.yaml'}: error 30402: the file is no UTF-8 text: byte 9" in told
    assert "wrong.json" in told


def test_what_cannot_be_read_is_a_problem_of_its_own_and_the_others_are_told(
    folder: Path,
) -> None:
    wrong, missing = folder / "more/deep/wrong.json", folder / "missing.yaml"
    empty = folder / "empty"
    empty.mkdir()
    named = [str(one) for one in (wrong, missing, empty, folder / "good.yaml")]
    code, shown, told = run("validate", *named)
    assert code == 1
    first, second, third = told.splitlines()
    assert first.startswith(f"{wrong}:5:10: error 30408")
    assert second == f"{missing}: error 30402: No such file or directory"
    assert third.startswith(f"{empty}: error 30402: there is no definition in it (a file with a da")
    assert shown.startswith("4 definitions: 1 without problems, 0 with warnings, 3 with errors")
    code, shown, told = run("validate", *named, "--format", "json")
    assert (code, told, json.loads(shown)["errors"]) == (1, "", 3)
    assert [one["valid"] for one in json.loads(shown)["files"]] == [False, False, False, True]
    annotations = run("validate", *named, "--format", "github")[1].splitlines()
    assert [line.partition(" ")[0] for line in annotations] == ["::error"] * 3


@pytest.mark.parametrize(
    "text",
    [
        "dagname: x\ntype: flow\ntasks: []\n",
        "dag_name: x\ntasks: []\n",
        "workspace: w\nname: x\ntasks: []\n",
        '{"workspace": "w", "tasks": []}',
        "\"workspace\": w\n'tasks' : []\n",
    ],
)
def test_a_definition_without_a_dag_name_is_one_also_in_a_folder(tmp_path: Path, text: str) -> None:
    file = tmp_path / "slip.yaml"
    file.write_text(text, encoding="utf-8")
    code, shown, told = run("validate", str(tmp_path))
    assert (code, "passed over" in shown) == (1, False)
    assert "is not a valid name" in told
    assert ("did you mean `dagName`" in told) == ("name" in text)


@pytest.mark.parametrize(
    "text", ["version: 3\ntasks: {a: {}}\n", "- hosts: all\n  tasks: []\n", "workspace: w\n"]
)
def test_files_of_other_programs_are_passed_over(folder: Path, text: str) -> None:
    (folder / "other.yaml").write_text(text, encoding="utf-8")
    assert str(folder / "other.yaml") in run("validate", str(folder))[1].partition("skipped")[2]


@pytest.mark.parametrize("content", [b"", b" \n", "name: ä".encode("latin-1")])
def test_a_file_of_a_folder_without_a_text_is_an_error_where_it_is_strict(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "none.yaml").write_bytes(content)
    assert run("validate", str(tmp_path))[0] == 0
    code, _, told = run("validate", str(tmp_path), "--strict")
    assert code == 1
    [line] = told.splitlines()
    assert line.startswith(str(tmp_path / "none.yaml"))
    assert ": error 304" in line


def test_looking_for_keys_takes_no_time_whatever_a_file_holds(tmp_path: Path) -> None:
    for number, text in enumerate(("{" + "a" * 400_000, "{" + "a " * 200_000, "a\n" * 200_000)):
        (tmp_path / f"{number}.yaml").write_text(text + " " * 200_000, encoding="utf-8")
    with processor_time(2):
        found = find_files([tmp_path])
    assert (found.files, len(found.passed_over)) == ((tmp_path,), 3)


def test_of_a_huge_file_no_more_is_read_than_a_definition_may_have(folder: Path) -> None:
    huge = folder / "huge.json"
    with huge.open("wb") as file:
        file.seek(1 << 40)
        file.write(b"dagName")
    assert str(huge) in run("validate", str(folder))[1]
    code, _, told = run("validate", str(huge))
    assert code == 1
    assert f"{huge}: error" in told


def test_the_examples_have_no_warning() -> None:
    examples = Path(__file__).parents[2] / "examples"
    code, _, told = run("validate", str(examples), "--strict")
    assert (code, told) == (0, "")


FLOWS: Final = (
    "@flow(workspace='demo')\ndef one(name): ...\n@kit.flow\ndef two(): ...\ndef no(): ...\n"
)


@pytest.mark.parametrize(
    ("text", "flows"),
    [(FLOWS, ["one", "two"]), ("def no(): ...", ["FLOW"]), ("def (", ["FLOW"])],
)
def test_of_a_python_file_the_flows_are_named(tmp_path: Path, text: str, flows: list[str]) -> None:
    file = tmp_path / "greeting.py"
    file.write_text(text, encoding="utf-8")
    named = " or ".join(f"{file}:{flow}" for flow in flows)
    code, _, told = run("validate", str(file))
    assert code == 1
    assert told == (f"{file}: error 30402: the file is a Python file; name a flow of it: {named}\n")
