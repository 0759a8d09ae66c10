"""A script joins the stack of its folder, and not just any that runs on the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rillflow.client.driver import address_here
from rillflow.jsontypes import encode_json
from rillflow.settings import STACK_NOTE


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_stack_that_runs_on_the_data_folder_is_the_one(folder: Path) -> None:
    note = {"pid": os.getpid(), "ray_address": "192.0.2.2:6379"}
    (folder / STACK_NOTE).write_bytes(encode_json(note))
    assert address_here() == "192.0.2.2:6379"


def test_a_script_without_the_token_is_told_how_to_get_it(folder: Path, tmp_path: Path) -> None:
    note = {"pid": os.getpid(), "ray_address": "127.0.0.1:1"}
    (folder / STACK_NOTE).write_bytes(encode_json(note))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    script = subprocess.run(
        [sys.executable, "-c", "import rillflow; rillflow.connect()"],
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = script.stderr.splitlines()[-2:]
    assert told[0].endswith("Ray at 127.0.0.1:1 asks for a token, and this script has none")
    assert "RAY_AUTH_TOKEN_PATH" in told[1]


@pytest.mark.parametrize(
    "note", [b"{", b"[]", b"{}", b'{"pid": 0, "ray_address": "a:1"}', b'{"pid": "1"}']
)
def test_without_one_that_runs_ray_looks_around(folder: Path, note: bytes) -> None:
    assert address_here() == "auto"
    (folder / STACK_NOTE).write_bytes(note)
    assert address_here() == "auto"
