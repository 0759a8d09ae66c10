"""Whatever is done in a thread says whose it is: works of one key stand in one line."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
KEYED: Final = {
    "rillflow.gateways.outbound.threads": {"in_thread", "computed", "joined"},
    "serve.schemas.exchange": {"ret_response", "data_response"},
}
"""Functions by module whose works wait in a line; their ``workspace`` says in which."""
OF_ALL: Final = {
    "serve/routes/document.py",
    "serve/routes/console_pages.py",
    "serve/routes/hot.py",
    "serve/routes/console_api/workflows.py",
}
"""Modules that do something once for all, or answer with a constant text: it is of nobody."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted([*ROOT.glob("serve/**/*.py"), *ROOT.glob("rillflow/**/*.py")]):
        yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            yield function.id if isinstance(function, ast.Name) else name, node


def _keyed(tree: ast.Module) -> set[str]:
    """Return the functions that a module imports, and that are to be told whose work it is."""
    return {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in KEYED
        for name in node.names
        if name.name in KEYED[node.module]
    }


def _is_nobody(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value == ""


def test_each_work_in_a_thread_says_whose_it_is() -> None:
    silent, seen = [], set[str]()
    for module, tree in _modules():
        keyed = _keyed(tree)
        seen |= keyed
        for name, call in _calls(tree):
            if name in keyed and "workspace" not in {each.arg for each in call.keywords}:
                silent.append(f"{module}:{call.lineno}")
    assert not silent
    assert seen == set().union(*KEYED.values())


def test_only_what_is_done_once_for_all_is_the_work_of_nobody() -> None:
    of_nobody = set()
    for module, tree in _modules():
        for name, call in _calls(tree):
            named = [each for each in call.keywords if each.arg in {"workspace", "sender"}]
            first = call.args[:1] if name in {"run", "begin"} else []
            if any(map(_is_nobody, [*(each.value for each in named), *first])):
                of_nobody.add(module)
    assert of_nobody == OF_ALL
