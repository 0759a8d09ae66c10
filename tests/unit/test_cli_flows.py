"""Commands take flows of users' modules, which are imported by the command and nowhere else."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.client.clients import Client
from rillflow.definition import parse_definition
from rillflow.flow import call, flow
from tests.unit.commands import path, run, stand_in

ID: Final = "demo:film_c_01890a5d-ac96-774b-bcce-b302099a8057"
ADDING: Final = "flow__bg__manage__descriptor__add_descriptor.json"
ADDED: Final = {"ret": True, "descriptor_id": "demo:film:md5_1"}
ENDED: Final = {"execution_id": ID, "dag_status": "SUCCEED", "context": {"file": "a.y4m"}}
MODULE: Final = """
from typing import Any

from rillflow.flow import call, flow, ray_call


@flow(workspace="demo", name="film")
def film(topic: str, scenes: int = 3) -> dict[str, Any]:
    return {"file": call("http://f.test/shoot", topic=topic, scenes=scenes).file}


@flow(workspace="demo", name="wrong")
def wrong(topic: str) -> None:
    if topic == "sea":
        call("http://f.test/film")


@flow(workspace="demo", name="warned")
def warned(topic: str) -> None:
    call("htp://f.test/film")


@flow(workspace="demo", name="refused")
def refused() -> None:
    ray_call.options(num_cpus=-1)("pipeline:film")


number = 5
"""


@pytest.fixture(name="module")
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules), list(sys.path)
    (tmp_path / "pictures.py").write_text(MODULE, encoding="utf-8")
    yield tmp_path / "pictures.py"
    for name in sys.modules.keys() - before[0].keys():
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.path[:] = before[1]


def _plain(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("source", ["pictures:film", "pictures.py:film", "./pictures.py:film"])
def test_adding_takes_a_flow_of_a_module_or_file(module: Path, source: str) -> None:
    assert module.exists()
    with stand_in(**{ADDING: ADDED}) as (url, asked):
        assert run("add", source, "--url", url) == (0, "demo:film:md5_1\n", "")
    assert asked[0]["query"] == {"business_id": "demo", "feature_name": "film", "alias": "release"}
    [task] = parse_definition(asked[0]["body"]).tasks or ()
    assert task.name == "shoot"


def test_running_adds_submits_and_prints_the_result(module: Path) -> None:
    assert module.exists()
    answers: dict[str, Any] = {
        ADDING: ADDED,
        path("submit"): {"execution_id": ID},
        path("get"): {"ret": ENDED},
    }
    given = ("-i", "topic=12", "-i", "scenes=4", "-i", "note=sea: calm", "-i", "sizes=[1, 2]")
    with stand_in(**answers) as (url, asked):
        code, shown, told = run("run", "pictures:film", *given, "--url", url)
    assert (code, json.loads(shown), told) == (0, {"file": "a.y4m"}, f"{ID}\n")
    assert json.loads(asked[1]["body"]) == {
        "topic": "12",  # a str by its type hint
        "scenes": 4,
        "note": "sea: calm",
        "sizes": [1, 2],
    }


def test_running_takes_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "film.yaml"
    file.write_text("workspace: demo\ndagName: film\n", encoding="utf-8")
    answers: dict[str, Any] = {
        ADDING: ADDED,
        path("submit"): {"execution_id": ID},
        path("get"): {"ret": ENDED},
    }
    with stand_in(**answers) as (url, asked):
        code, _, _ = run("run", str(file), "-d", '{"a": 1, "b": 2}', "-i", "b=x=y", "--url", url)
    assert code == 0
    assert json.loads(asked[1]["body"]) == {"a": 1, "b": "x=y"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nowhere:film", "there is no module nowhere"),
        ("nowhere.pictures:film", "there is no module nowhere"),
        ("nowhere.py:film", "there is no file nowhere.py"),
        ("pictures:fiml", "fiml of pictures is not there; did you mean `film`?"),
        (
            "pictures:number",
            "number of pictures is no flow; flows of it are: film, wrong, warned, refused",
        ),
        ("json:film", "film of json is not there; flows of it are: none"),
    ],
)
def test_a_flow_that_is_not_there_is_told_with_those_that_are(
    module: Path, source: str, reason: str
) -> None:
    assert module.exists()
    code, _, told = run("add", source)
    assert code == 2
    assert reason in _plain(told)


def test_a_file_whose_module_name_is_taken_is_refused(module: Path) -> None:
    module.with_name("json.py").write_text(MODULE, encoding="utf-8")
    code, _, told = run("add", "json.py:film")
    assert code == 2
    assert "the module name json belongs to" in _plain(told)


def test_what_cannot_be_traced_is_one_line(module: Path) -> None:
    assert module.exists()
    code, shown, told = run("add", "pictures:wrong")
    assert (code, shown) == (1, "")
    assert told.startswith("error: pictures.py:14: Python cannot decide on `topic == 'sea'`")
    assert told.count("\n") == 1


def test_warnings_of_a_flow_are_told(module: Path) -> None:
    assert module.exists()
    with stand_in(**{ADDING: ADDED}) as (url, _):
        code, _, told = run("add", "pictures:warned", "--url", url)
    assert code == 0
    assert "warning" in told
    assert "did you mean `http`?" in told


def test_a_flow_is_validated_without_a_server(module: Path) -> None:
    assert module.exists()
    code, shown, told = run("validate", "pictures.py:film", "--strict")
    assert (code, shown, told) == (0, "pictures.py:film as YAML is a valid definition\n", "")
    code, _, told = run("validate", "pictures:warned", "--strict")
    assert code == 3
    assert told.startswith("pictures:warned as YAML:")
    code, _, told = run("validate", "pictures:refused")
    assert code == 1
    assert "num_cpus is 0 or more" in told
    code, _, told = run("validate", "pictures:wrong")
    assert code == 1
    assert told.startswith("error: pictures.py:14: Python cannot decide")


@pytest.mark.parametrize(
    ("given", "reason"),
    [("topic", "topic is no KEY=VALUE"), ("=x", "=x is no KEY=VALUE"), ("", "is no KEY=VALUE")],
)
def test_keys_that_are_malformed_are_refused(module: Path, given: str, reason: str) -> None:
    assert module.exists()
    code, _, told = run("run", "pictures:film", "-i", given)
    assert code == 1
    assert reason in told


def test_a_key_that_is_given_twice_is_refused(module: Path) -> None:
    assert module.exists()
    code, _, told = run("run", "pictures:film", "-i", "topic=a", "-i", "topic=b")
    assert code == 1
    assert "the key topic is given twice" in told


def test_an_error_of_the_module_shows_where_it_is(module: Path) -> None:
    module.write_text("import json\n\nraise ValueError('of the author')\n", encoding="utf-8")
    ended = subprocess.run(
        (sys.executable, "-m", "rillflow.cli", "add", "pictures.py:film"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=module.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 1
    assert 'pictures.py", line 3' in ended.stderr
    assert "ValueError: of the author" in ended.stderr


def test_a_client_adds_a_flow() -> None:
    @flow(workspace="demo", name="film")
    def film(topic):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - a flow without types
        call("http://f.test/film", topic=topic)

    with stand_in(**{ADDING: ADDED}) as (url, asked), Client(url) as client:
        assert client.add(film) == "demo:film:md5_1"
    assert asked[0]["query"]["feature_name"] == "film"
    assert parse_definition(asked[0]["body"]) == film.definition


def test_a_server_does_without_flows() -> None:
    script = (
        "import sys, serve.app, rillflow.actors; "
        "print([name for name in sys.modules if name.startswith('rillflow.flow')])"
    )
    ended = subprocess.run(  # noqa: S603 - a script of this file
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ended.stdout.splitlines()[-1] == "[]"
