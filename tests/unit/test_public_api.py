"""What ``rillflow`` promises is importable, and importing it costs next to nothing."""

import subprocess
import sys
from typing import Final

import pytest

import rillflow
from tests.machine_speed import least

HEAVY: Final = ("ray", "httpx", "pydantic", "aiohttp", "asyncio", "rich", "typer")
IMPORT_S: Final = 0.15


@pytest.mark.parametrize("name", rillflow.__all__)
def test_every_public_name_is_importable(name: str) -> None:
    assert getattr(rillflow, name).__doc__


def test_there_are_no_public_names_but_those_that_are_listed() -> None:
    script = "import rillflow; print([n for n in vars(rillflow) if not n.startswith('_')])"
    assert set(_printed(script)) <= {
        *rillflow.__all__,
        "importlib",
        "TYPE_CHECKING",
        "Any",
        "Final",
    }
    assert sorted(rillflow.__all__) == rillflow.__all__
    assert set(rillflow.__all__) <= set(dir(rillflow))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = rillflow.Nonsense


def test_importing_rillflow_imports_nothing_heavy() -> None:
    script = f"import rillflow, sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert _printed(script) == []


def test_the_http_client_does_without_ray() -> None:
    script = "import rillflow, sys; rillflow.Client('http://127.0.0.1:1').close(); "
    assert _printed(script + "print([m for m in ('ray',) if m in sys.modules])") == []


def test_importing_rillflow_is_quick() -> None:
    script = (
        "import time; began = time.process_time(); import rillflow; "
        "print([str(time.process_time() - began)])"
    )
    assert least(lambda: float(_printed(script)[0]), IMPORT_S) < IMPORT_S


def test_errors_are_public_and_tell_who_must_act() -> None:
    assert issubclass(rillflow.errors.ExecutionFailedError, rillflow.errors.RillflowError)


def _printed(script: str) -> list[str]:
    ended = subprocess.run(  # noqa: S603 - scripts of this file
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    names = ended.stdout.strip().strip("[]").replace("'", "").split(", ")
    return [name for name in names if name]
