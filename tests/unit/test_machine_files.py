"""The files for systemd and containers start Rillflow as its settings and options are."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from rillflow.cli import app
from rillflow.settings import Settings

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
DATA: Final = "/var/lib/rillflow"


def lines_of(name: str) -> list[str]:
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def value_of(name: str, key: str, separator: str) -> str:
    [found] = [each for each in lines_of(name) if each.startswith(key + separator)]
    return found.removeprefix(key + separator)


@pytest.fixture(name="compose")
def _compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return content


def is_taken(words: list[str]) -> bool:
    """Tell whether the command line has this command with these options."""
    command: Any = typer.main.get_command(app)
    context = command.commands[words[0]].make_context(words[0], words[1:])
    return context.params["data_dir"] is not None


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The program that the unit starts has to be there, so another one stands in for it."""
    text = (DEPLOY / "rillflow.service").read_text(encoding="utf-8")
    unit = tmp_path / "rillflow.service"
    unit.write_text(text.replace("/opt/rillflow/bin/rillflow", sys.executable), encoding="utf-8")
    systemd = shutil.which("systemd-analyze")
    if systemd is None:  # another system: the other tests read the unit
        return
    checked = subprocess.run(  # noqa: S603 - of the system
        [systemd, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_unit_starts_a_command_that_there_is() -> None:
    _, *words = shlex.split(value_of("rillflow.service", "ExecStart", "="))
    assert is_taken(words)
    assert words[-1].startswith(value_of("rillflow.service", "WorkingDirectory", "="))


def test_the_container_starts_a_command_that_there_is() -> None:
    words = yaml.safe_load(value_of("Dockerfile", "CMD", " "))
    assert is_taken(words)
    assert words[-1] == value_of("Dockerfile", "VOLUME", " ") == DATA


def test_the_container_has_no_superuser_and_listens_where_it_says() -> None:
    assert value_of("Dockerfile", "USER", " ") == "rillflow"
    port = Settings.model_fields["port"].default
    assert value_of("Dockerfile", "EXPOSE", " ") == str(port)
    [check] = [each for each in lines_of("Dockerfile") if each.startswith("HEALTHCHECK")]
    assert f"127.0.0.1:{port}/readyz" in check


def copied() -> set[str]:
    """Return what the image is built from."""
    lines = (line.split() for line in lines_of("Dockerfile") if line.startswith("COPY "))
    return {name for words in lines for name in words[1:-1]}


def test_what_the_container_is_built_from_is_sent_to_docker() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text("utf-8").split()
    assert {each[1:] for each in ignored if each[0] == "!"} == copied()
    assert all((DEPLOY.parent / name).exists() for name in copied())


def test_what_the_container_is_built_from_is_the_whole_package(tmp_path: Path) -> None:
    without = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in copied():
        source = DEPLOY.parent / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=without)
        else:
            shutil.copy(source, tmp_path / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "built"]
    built = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "built").glob("rillflow-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = {name.removesuffix(".gz") for name in opened.namelist()}
    modules = {each for each in tmp_path.glob("*/**/*.py") if "ui" not in each.parts}
    pages = {each for each in (tmp_path / "serve" / "static").rglob("*") if each.is_file()}
    assert (tmp_path / "serve" / "static" / "index.html") in pages
    wanted = {str(each.relative_to(tmp_path)) for each in modules | pages}
    assert wanted <= packed


def test_the_container_has_all_that_triggers_and_traces_need() -> None:
    [install] = [each for each in lines_of("Dockerfile") if each.startswith("RUN pip install")]
    extras = re.findall(r"'/src\[([\w,]+)\]'", install)[0].split(",")
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"server", "kafka", "otel"} == {*extras} <= project["optional-dependencies"].keys()


def test_compose_names_settings_that_there_are(compose: dict[str, Any]) -> None:
    environment = compose["services"]["rillflow"]["environment"]
    names = {name.removeprefix("RILLFLOW_").lower() for name in environment}
    assert names <= Settings.model_fields.keys()
    assert all("RILLFLOW_" in name for name in environment)


def test_compose_starts_on_no_known_password(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if re.search(r"PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value)


def test_compose_keeps_what_must_not_be_lost(compose: dict[str, Any]) -> None:
    kept = {
        volume.partition(":")[0]: volume.partition(":")[2]
        for service in compose["services"].values()
        for volume in service["volumes"]
    }
    assert kept.keys() == compose["volumes"].keys()
    assert kept["data"] == DATA
    assert compose["services"]["rillflow"]["ports"] == ["127.0.0.1:8080:8080"]
