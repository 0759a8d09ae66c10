"""A function that exits has failed; where Ray ends its process, there is no outcome."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import BatchCall, FunctionCall, call_batch, call_function

MODULE = "functions_that_exit"
TEXT = """
import sys

from ray._raylet import raise_sys_exit_with_custom_error_message


def leave():
    sys.exit(3)


def ended():
    raise_sys_exit_with_custom_error_message("The process receives a SIGTERM.", exit_code=1)


def leave_all(inputs: list[dict]) -> list[dict]:
    leave()


def ended_all(inputs: list[dict]) -> list[dict]:
    ended()
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / f"{MODULE}.py").write_text(TEXT, encoding="utf-8")
    yield tmp_path
    sys.modules.pop(MODULE, None)


def call(folder: Path, function: str) -> FunctionCall:
    return FunctionCall(FunctionTarget(MODULE, function), b"{}", (MODULE,), (str(folder),), 1_000)


def test_a_function_that_exits_has_failed(folder: Path) -> None:
    assert "SystemExit: 3" in str(call_function(call(folder, "leave")).error)
    outcomes = call_batch(BatchCall(call(folder, "leave_all"), (b"{}", b"{}")))
    assert ["SystemExit: 3" in str(each.error) for each in outcomes] == [True, True]


def test_where_ray_ends_the_process_the_function_has_no_outcome(folder: Path) -> None:
    with pytest.raises(SystemExit):
        call_function(call(folder, "ended"))
    with pytest.raises(SystemExit):
        call_batch(BatchCall(call(folder, "ended_all"), (b"{}", b"{}")))
