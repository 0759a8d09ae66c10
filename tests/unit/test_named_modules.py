"""What a user names in a module or file is imported once, and replaces no other module."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillflow.function_calls.loading import load_named
from rillflow.functions.serving import load_application


@pytest.fixture(autouse=True)
def _modules_are_as_before() -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path


def test_a_file_that_is_named_twice_is_imported_once(tmp_path: Path) -> None:
    file = tmp_path / "doubles_of_mine.py"
    file.write_text("A = object()\nB = A\n")
    assert load_named(str(file), "A") is load_named(f"{file}:B", "A")
    assert sys.modules["doubles_of_mine"].__file__ == str(file.resolve())


def test_files_with_one_stem_are_two_modules(tmp_path: Path) -> None:
    files = [tmp_path / folder / "doubles_of_mine.py" for folder in ("one", "other")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"NAME = {file.parent.name!r}\n")
    assert [load_named(str(file), "NAME") for file in files * 2] == ["one", "other"] * 2


def test_an_application_in_a_file_that_is_called_as_a_module_of_python_does_not_replace_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "json.py"
    file.write_text("from rillflow.functions import Functions\n\napp = Functions()\n")
    load_application(str(file))
    assert sys.modules["json"] is json


def test_a_module_that_fails_is_imported_anew(tmp_path: Path) -> None:
    file = tmp_path / "doubles_of_mine.py"
    file.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load_named(str(file), "A")
    file.write_text("A = 1\n\n")
    assert load_named(str(file), "A") == 1
