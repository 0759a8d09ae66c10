"""A script joins the stack of its folder, and not just any that runs on the machine."""

import os
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


@pytest.mark.parametrize(
    "note", [b"{", b"[]", b"{}", b'{"pid": 0, "ray_address": "a:1"}', b'{"pid": "1"}']
)
def test_without_one_that_runs_ray_looks_around(folder: Path, note: bytes) -> None:
    assert address_here() == "auto"
    (folder / STACK_NOTE).write_bytes(note)
    assert address_here() == "auto"
