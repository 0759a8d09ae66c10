"""Nobody waits for an event by ``asyncio.wait_for``, which may lose a cancellation.

That of Python 3.11 returns, and goes on, where the cancellation comes together with what was waited
for; a loop that waits so is not stopped. ``asyncio.timeout`` raises it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.processes import ROOT


def waits_of(path: Path) -> Iterator[str]:
    """Yield the places of a module where ``asyncio.wait_for`` waits for an event."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.wait_for"):
            continue
        waited = node.args[0]
        if isinstance(waited, ast.Call) and ast.unparse(waited.func).endswith(".wait"):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_loops_wait_for_events_so_that_they_can_be_stopped() -> None:
    modules = [path for name in ("rillflow", "serve") for path in (ROOT / name).rglob("*.py")]
    assert len(modules) > 500
    assert not [place for path in modules for place in waits_of(path)]
