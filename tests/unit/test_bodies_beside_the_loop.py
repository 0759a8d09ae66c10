"""Long bodies in JSON are decoded beside the event loop, whichever route reads them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROUTES: Final = Path(__file__).parents[2] / "serve" / "routes"
DECODERS: Final = frozenset({"json_object", "question_of", "trial_of"})


def _in_the_loop(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that a coroutine makes itself, not in a function that others may run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _in_the_loop(child)


def test_no_route_decodes_a_body_in_the_event_loop() -> None:
    found = [
        f"{path.relative_to(ROUTES)}:{call.lineno}"
        for path in ROUTES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef)
        for call in _in_the_loop(node)
        if isinstance(call.func, ast.Name) and call.func.id in DECODERS
    ]
    assert found == []
