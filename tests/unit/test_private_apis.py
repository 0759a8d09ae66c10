"""What is relied on in the inside of Ray, Serve, uvicorn and HAProxy is true of what is installed.

Nothing else of the code uses what those libraries do not promise.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.private_apis.assumption import missing, not_in_source, other_parameters
from rillflow.private_apis.report import Finding, findings, modules

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / "rillflow" / "private_apis"
PRIVATE: Final = ("ray._", "ray.serve._private", "ray.serve.context", "uvicorn")


@pytest.fixture(name="found", scope="module")
def _found() -> list[Finding]:
    return list(findings())


@pytest.mark.parametrize("module", modules())
def test_what_a_module_relies_on_holds(found: list[Finding], module: str) -> None:
    own = [finding for finding in found if finding.module == module]
    assert own
    assert not [finding.differences for finding in own if finding.differences]


@pytest.mark.parametrize("module", modules())
def test_it_says_what_happens_if_that_changes(found: list[Finding], module: str) -> None:
    for finding in found:
        if finding.module == module:
            assert finding.assumption.if_it_changes.startswith(("loud", "silent"))
            assert finding.assumption.seen_with[:1].isdigit()
            assert finding.assumption.relies_on


def test_what_does_not_hold_is_told() -> None:
    class Library:
        def method(self, known: int) -> int:
            return known

    assert list(missing(Library, "method", "gone")) == [
        f"{__name__}.test_what_does_not_hold_is_told.<locals>.Library has no gone"
    ]
    assert len(list(other_parameters(Library.method, "known", "unknown"))) == 1
    assert len(list(not_in_source(Library, "return known", "return unknown"))) == 1


def test_a_command_reports_it() -> None:
    command = [sys.executable, "-m", "rillflow.private_apis"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.count("relies on") >= len(modules())


def test_nothing_else_imports_what_is_private() -> None:
    elsewhere = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in ("rillflow", "serve")
        for path in (ROOT / package).rglob("*.py")
        if HOME not in path.parents
        for name in _imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith(PRIVATE)
    ]
    assert not elsewhere


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{each.name}" for each in node.names)
