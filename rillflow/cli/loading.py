"""Flows of users' modules, by ``module:flow`` or ``path/file.py:flow``.

A module is imported here, in the process of the command, and never in a server.

Used by `cli/commands/flows.py` and `cli/commands/validating.py`.
"""

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import typer

from rillflow.definition.problems import find_problems
from rillflow.errors import DefinitionError, Problem
from rillflow.flow import Flow
from rillflow.suggestions import did_you_mean

AnyFlow: TypeAlias = Flow[..., Any]

_FORM: Final = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.*\.py):(?P<flow>[A-Za-z_]\w*)")


def flow_named(text: str) -> AnyFlow | None:
    """Import the flow that an argument names; None if it names a file.

    Raises:
        BadParameter: There is no such module, file or flow.
        Exception: Whatever the module raises when it is imported.
    """
    named = _FORM.fullmatch(text)
    if named is None or Path(text).exists():
        return None
    module = _imported(named["module"])
    found = getattr(module, named["flow"], None)
    if isinstance(found, Flow):
        return found
    flows = [name for name, value in vars(module).items() if isinstance(value, Flow)]
    what = "is no flow" if hasattr(module, named["flow"]) else "is not there"
    hint = did_you_mean(named["flow"], flows) or f"flows of it are: {', '.join(flows) or 'none'}"
    raise typer.BadParameter(f"{named['flow']} of {named['module']} {what}; {hint}")


def flows_written_in(content: bytes) -> list[str]:
    """Name the flows that a Python file seems to have; it is read, not run."""
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    functions = (each for each in module.body if isinstance(each, ast.FunctionDef))
    return [each.name for each in functions if any(map(_makes_a_flow, each.decorator_list))]


def _makes_a_flow(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(named, "attr", getattr(named, "id", "")) == "flow"


def problems_of(flow: AnyFlow, *, strict: bool = False) -> list[Problem]:
    """List the problems of the definition of a flow; their places are those in its YAML.

    Raises:
        FlowError: The flow cannot be traced.
    """
    try:
        return find_problems(flow.to_yaml(), strict=strict)
    except DefinitionError as error:
        return list(error.problems)


def place_of(source: str) -> Path:
    """Return what stands before the places of problems of a flow."""
    return Path(f"{source} as YAML")


def _imported(name: str) -> ModuleType:
    file = Path(name) if name.endswith(".py") else None
    if file is not None and not file.is_file():
        raise typer.BadParameter(f"there is no file {name}")
    folder = str(file.resolve().parent if file is not None else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    module_name = name if file is None else file.stem
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and needs another one
        raise typer.BadParameter(f"there is no module {error.name}") from error
    if file is not None and Path(module.__file__ or "").resolve() != file.resolve():
        raise typer.BadParameter(
            f"the module name {module_name} belongs to {module.__file__}; rename {name}"
        )
    return module
