"""The command line reads ordinary files, up to a limit, and waits for none."""

import os
from pathlib import Path

import pytest

from rillflow.cli.inputs import MOST_DATA_BYTES, json_argument
from rillflow.client.definitions import definition_text
from rillflow.definition.yaml_tree.loader import LARGEST_TEXT_BYTES
from tests.loopback import closed_port
from tests.unit.commands import run

NOWHERE = "http://127.0.0.1:9"
VALID = "workspace: w\ndagName: d\ntype: flow\ntasks:\n- {name: A, category: pass}\n"


@pytest.fixture(name="pipe")
def _pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    return path


@pytest.fixture(name="sparse")
def _sparse(tmp_path: Path) -> Path:
    path = tmp_path / "sparse.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


@pytest.mark.parametrize("command", [("validate",), ("add", "--url", NOWHERE)])
def test_a_pipe_is_refused_and_not_waited_for(pipe: Path, command: tuple[str, ...]) -> None:
    code, _, told = run(*command, str(pipe))
    assert code == 1
    assert f"{pipe}: " in told
    assert "it must be an ordinary file, and is a pipe" in told


def test_a_device_is_no_data() -> None:
    code, _, told = run("submit", "shop:order", "--url", NOWHERE, "--data", "@/dev/zero")
    assert code == 1
    assert "/dev/zero: it must be an ordinary file, and is a device" in told


def test_a_terabyte_is_not_read(sparse: Path) -> None:
    code, _, told = run("submit", "shop:order", "--url", NOWHERE, "--data", f"@{sparse}")
    assert code == 1
    assert f"{sparse}: it has more than {MOST_DATA_BYTES} bytes" in told
    with pytest.raises(OSError, match=f"it has more than {LARGEST_TEXT_BYTES} bytes"):
        definition_text(sparse)


def test_what_leads_to_an_ordinary_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": "é"}', encoding="utf-8")
    link = tmp_path / "link.json"
    link.symlink_to("data.json")
    assert json_argument(f"@{link}") == {"a": "é"}
    (tmp_path / "flow.yaml").write_text(VALID, encoding="utf-8")
    assert definition_text(tmp_path / "flow.yaml") == VALID


def test_a_name_of_great_length_is_told_in_part(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(VALID.replace("dagName: d", f"dagName: {'b-' * 100_000}"), encoding="utf-8")
    code, _, told = run("validate", str(file))
    assert code == 1
    assert max(map(len, told.splitlines())) < 3_000


def test_a_folder_in_place_of_data_is_named(tmp_path: Path) -> None:
    code, _, told = run("submit", "b:f", "--data", f"@{tmp_path}")
    assert (code, told) == (1, f"error: {tmp_path}: Is a directory\n")


def test_a_server_that_is_not_there_is_told_without_the_number_of_the_error() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    code, _, told = run("status", "--url", url)
    assert code == 1
    assert told.startswith(f"error: no answer from {url}: Connection refused (rillflow up starts")
