"""The house rules that no linter knows: sizes, names, words, and what the front door says."""

import ast
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
NOT_OURS: Final = {
    ".git",
    ".venv",
    "mutants",
    ".tools",
    ".rillflow",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    "__pycache__",
    "node_modules",
    "data",
    "dist",
    "htmlcov",
    "out",
}
MEANINGLESS_NAMES: Final = {"utils", "util", "helpers", "common", "manager", "base", "misc"}
# Spelt in two parts, so that this file does not name them itself.
UNFINISHED: Final = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error", "no" + " cover")
MOCKS: Final = ("unittest" + ".mock", "monkeypatch" + ".setattr", "mocker" + ".patch")
AVOIDED: Final = ("mark" + ".skip", "mark" + ".xfail", "pytest" + ".skip(", "importor" + "skip")
WORKPLACE: Final = ("/wo" + "rk/", "../sha" + "red")
TERMINAL_WRITERS: Final = ("rillflow/cli/visible.py", "rillflow/cli/output/console.py")
TERMINAL_CALLS: Final = ("print", "Console", "typer.echo", "typer.secho", "click.echo")
USED_BY_MOST: Final = "Used by most packages."
MANY_PACKAGES: Final = 6
NAMED: Final = re.compile(r"`([a-z_/.]+)`")
FILE: Final = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|md))`")
PROGRAMS: Final = {
    "rillflow/private_apis/haproxy/program.py",
    "rillflow/private_apis/haproxy/without_files.py",
    "rillflow/runtime/local.py",
    "serve/app.py",
    "serve/stack/certificates.py",
    "serve/stack/cluster_control.py",
    "serve/stack/front.py",
    "serve/stack/local_ray.py",
    "serve/stack/standalone.py",
}
"""Programs, what is imported by its name in them, and what tests alone use."""
USED_BY: Final = re.compile(r"\bUsed by ((?:`[a-z_/.]+`(?:, | and )?)+)\.")
MAX_LINES: Final = 500
MAX_FUNCTION_LINES: Final = 50
"""From ``def`` to the last line, parameters and docstring included."""
MAX_MODULES: Final = 20
"""In one folder, its ``__init__.py`` apart."""
FIRST_SCREEN: Final = 30
MAX_PAGE_LINES: Final = 150
MAKE_COMMAND: Final = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)")
CODE: Final = re.compile(r"(?s:```.*?```)|`[^`\n]+`|^ {4}.*$", re.MULTILINE)
LOCKED_NAME: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
NAMES_IN_FILE: Final = re.compile(
    r"((?:`\w+`(?:, | and )?)+) in `((?:rillflow|serve|tests)/[a-z_/]+\.py)`"
)
NAMED_TEST: Final = re.compile(r"`(tests/[a-z_/]+\.py)::(test_\w+)`")
WANTED_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")


def test_no_module_is_longer_than_the_limit() -> None:
    too_long = {
        _name(path): lines
        for path in _python_files()
        if (lines := len(_text(path).splitlines())) > MAX_LINES
    }
    assert not too_long


def test_no_function_is_longer_than_the_limit() -> None:
    too_long = {
        f"{_name(path)}:{name}": lines
        for path in _python_files()
        for name, lines in _parsed(path).functions
        if lines > MAX_FUNCTION_LINES
    }
    assert not too_long


@pytest.mark.parametrize("package", ["rillflow", "serve"])
def test_no_folder_has_more_modules_than_the_limit(package: str) -> None:
    folders = Counter(path.parent for path in (ROOT / package).rglob("*.py"))
    many = {
        _name(folder): count - 1 for folder, count in folders.items() if count > MAX_MODULES + 1
    }
    assert not many


def test_bounded_maps_that_are_written_by_hand_are_those_of_the_decision() -> None:
    decision = _text(ROOT / "docs" / "decisions" / "processes" / "bounded-maps.md")
    by_hand = {
        _name(path)
        for package in ("rillflow", "serve")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bOrderedDict\b|next\(iter\(self\._", _text(path))
    }
    assert by_hand
    assert not [path for path in by_hand if f"`{path}`" not in decision]


def test_tasks_beside_their_owner_are_in_a_task_set() -> None:
    by_hand = [
        _name(path)
        for package in ("rillflow", "serve")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"add_done_callback\(self\.\w+\.discard\)", _text(path))
    ]
    assert by_hand == ["rillflow/task_set.py"]


def test_what_ray_keeps_code_of_is_made_once_and_in_one_module() -> None:
    """Ray keeps all that ``ray.remote`` makes; so nothing is made for a request or an execution."""
    by_hand = {
        _name(path)
        for path in _modules()
        if "ray.remote" in {*_parsed(path).imports, *(name for name, _, _ in _parsed(path).calls)}
        or re.search(r"^\s*@ray\.remote", _text(path), re.MULTILINE)
    }
    assert by_hand == {"rillflow/ray_tasks/exports.py"}


def test_pauses_that_grow_are_those_of_one_class() -> None:
    by_hand = {
        _name(path)
        for package in ("rillflow", "serve")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"pause_s \*=? ?2|\b2 \* (self\.)?_?pause_s", _text(path))
    }
    # The circuit breaker keeps its pause, and a stored number of crashes decides one.
    assert by_hand == {
        "rillflow/backoff.py",
        "rillflow/gateways/limits/circuit_breaker.py",
        "rillflow/runtime/crashes/quarantine.py",
    }


def test_modules_are_named_after_what_they_are_about() -> None:
    assert not [_name(path) for path in _files() if path.stem in MEANINGLESS_NAMES]


@pytest.mark.parametrize("package", ["rillflow", "serve"])
def test_every_module_says_what_it_is(package: str) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    assert not [_name(path) for path in modules if not _parsed(path).docstring]


def test_a_docstring_says_truly_by_whom_a_module_is_used() -> None:
    """``Used by `a.py` and `b`.``: that module, and a module of that folder, imports it."""
    untrue = [
        f"{_name(path)}: {user}"
        for path in _modules()
        for user in _users_in(_parsed(path).docstring)
        if not any(_is_at(importer, user) for importer in _importers(path))
    ]
    assert not untrue, "correct the sentence `Used by ...` in the module's docstring"


def test_every_docstring_says_by_whom_its_module_is_used() -> None:
    """It names a module or folder that imports the module; or it is one that most packages use."""
    modules = [path for path in _modules() if _importers(path) and not _is_package(path)]
    silent = [_name(path) for path in modules if not _names_a_user(path)]
    assert not silent, "add a sentence `Used by ...` to the module's docstring"


def test_what_no_module_imports_is_a_program() -> None:
    alone = {_name(path) for path in _modules() if not (_importers(path) or _is_package(path))}
    assert alone == PROGRAMS


def test_the_files_that_docstrings_name_exist() -> None:
    """Without a folder it is a module of the same part, ``rillflow`` or ``serve``."""
    missing = [
        f"{_name(path)}: {named}"
        for path in _modules()
        for named in FILE.findall(_parsed(path).docstring)
        if not _is_there(named, path)
    ]
    assert not missing


def _is_there(named: str, path: Path) -> bool:
    if "/" in named or named.endswith(".md"):
        return any((folder / named).exists() for folder in (*path.parents, ROOT / "rillflow"))
    part = path.relative_to(ROOT).parts[0]
    return any(_name(module).startswith(part) for module in _modules() if module.name == named)


@cache
def _modules() -> tuple[Path, ...]:
    names = {"rillflow", "serve"}
    return tuple(path for path in _python_files() if path.relative_to(ROOT).parts[0] in names)


def _is_package(path: Path) -> bool:
    return path.stem in {"__init__", "__main__"}


@cache
def _by_imported() -> dict[str, list[Path]]:
    importers: dict[str, list[Path]] = {}
    for path in _modules():
        for imported in _parsed(path).imports:
            importers.setdefault(imported, []).append(path)
    return importers


def _importers(path: Path) -> list[Path]:
    return _by_imported().get(_dotted(path), [])


def _names_a_user(path: Path) -> bool:
    docstring = " ".join(_parsed(path).docstring.split())
    if USED_BY_MOST in docstring:
        packages = {importer.relative_to(ROOT).parts[:2] for importer in _importers(path)}
        return len(packages) > MANY_PACKAGES
    named = NAMED.findall(docstring)
    folders = [folder.relative_to(ROOT) for folder in path.parents if folder.is_relative_to(ROOT)]
    users = [*named, *(str(folder / name) for folder in folders for name in named)]
    return any(_is_at(importer, user) for user in users for importer in _importers(path))


def _users_in(docstring: str) -> list[str]:
    said = USED_BY.search(" ".join(docstring.split()))
    return re.findall(r"`([^`]+)`", said[1]) if said else []


def _is_at(path: Path, user: str) -> bool:
    place, user = (str(each).removeprefix("rillflow/") for each in (path.relative_to(ROOT), user))
    return place == user or place.startswith(f"{user}/")


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", ["rillflow", "serve"])
def test_every_folder_with_modules_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert not [_name(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_commands_write_through_what_escapes_control_characters_and_nothing_else() -> None:
    found = {
        f"{_name(path)}: {name}"
        for path in _python_files()
        if _name(path).startswith("rillflow/cli/") and _name(path) not in TERMINAL_WRITERS
        for name, _, _ in _parsed(path).calls
        if name in TERMINAL_CALLS or name.endswith(".write")
    }
    assert not found


def test_nothing_is_left_unfinished() -> None:
    assert not list(_mentions(UNFINISHED, _python_files()))


def test_tests_use_fakes_and_no_mocks() -> None:
    assert not list(_mentions(MOCKS, (ROOT / "tests").rglob("*.py")))


def test_every_test_runs() -> None:
    assert not list(_mentions(AVOIDED, (ROOT / "tests").rglob("*.py")))


def test_tests_do_not_sleep() -> None:
    """Giving way (``asyncio.sleep(0)``) is fine; tests on real processes may poll.

    In the simulation time is virtual.
    """
    sleeps = [
        f"{_name(path)}:{line}"
        for path in (ROOT / "tests").rglob("*.py")
        if not {"cluster", "bench", "corpus", "simulation"} & set(path.relative_to(ROOT).parts)
        for name, first, line in _parsed(path).calls
        if name.endswith(".sleep") and first != "0"
    ]
    assert not sleeps


def test_nothing_refers_to_the_place_where_it_was_written() -> None:
    assert not list(_mentions(WORKPLACE, _files()))


def test_the_first_screen_of_the_readme_has_the_two_commands() -> None:
    screen = _text(ROOT / "README.md").splitlines()[:FIRST_SCREEN]
    assert "make demo" in "\n".join(screen)
    assert "make test" in "\n".join(screen)


DOCUMENTS: Final = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_in_the_documents_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), re.MULTILINE))
    assert set(MAKE_COMMAND.findall(_code(document))) <= targets


@pytest.mark.parametrize(
    ("document", "heading"),
    [
        ("reliability.md", "When something fails"),
        ("security.md", "Threat model"),
        ("security.md", "Shared resources"),
        ("security.md", "What writes to the store"),
    ],
)
def test_every_row_of_a_promise_names_a_test_that_exists(document: str, heading: str) -> None:
    section = _text(ROOT / "docs" / document).partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .*$", section, re.MULTILINE)[1:]
    named = [NAMED_TEST.findall(row) for row in rows]
    assert len(rows) > 1
    assert all(named)
    for file, test in (each for row in named for each in row):
        assert f"def {test}(" in _text(ROOT / file), f"{file} has no {test}"


def test_the_architecture_is_one_page_of_files_that_exist() -> None:
    text = _text(ROOT / "ARCHITECTURE.md")
    assert len(text.splitlines()) <= MAX_PAGE_LINES
    named = re.findall(r"`((?:rillflow|serve|tests)(?:/[a-z_]+)+(?:\.py)?)`", text)
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_architecture_names_what_its_files_hold() -> None:
    text = " ".join(_text(ROOT / "ARCHITECTURE.md").split())
    named = NAMES_IN_FILE.findall(text)
    assert len(named) > 3
    assert not [
        (name, path)
        for names, path in named
        for name in re.findall(r"`(\w+)`", names)
        if not re.search(
            rf"^ *(?:class |(?:async )?def )?{name}\b", _text(ROOT / path), re.MULTILINE
        )
    ]


def test_the_architecture_names_every_package_and_module_of_the_top_level() -> None:
    text = _text(ROOT / "ARCHITECTURE.md").partition("## The layers")[2].partition("\n## ")[0]
    top = {path.stem for path in (ROOT / "rillflow").iterdir() if _is_of_the_code(path)}
    assert not {name for name in top if not re.search(rf"`(?:rillflow/)?{name}`", text)}


def test_the_architecture_names_the_ray_that_its_private_apis_were_seen_with() -> None:
    seen = re.findall(r"seen with Ray ([\d.]+\d)", _text(ROOT / "ARCHITECTURE.md"))
    assert [f"ray=={version}" for version in seen] == re.findall(
        r"^ray==\S+", _text(ROOT / "requirements.lock"), re.MULTILINE
    )


def _is_of_the_code(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in _text(ROOT / "requirements.lock")


def test_the_lock_file_has_every_dependency() -> None:
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *extras["server"],
        *project["dependency-groups"]["dev"],
    ]
    locked = {name.lower() for name in LOCKED_NAME.findall(_text(ROOT / "requirements.lock"))}
    assert {_package(line) for line in wanted} <= locked


@cache
def _files() -> tuple[Path, ...]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [each for each in folders if each not in NOT_OURS]
        found += [Path(folder, name) for name in names if name not in NOT_OURS]
    return tuple(path for path in found if path.is_file())


def _python_files() -> Iterator[Path]:
    return (path for path in _files() if path.suffix == ".py")


class _Parsed(NamedTuple):
    """What these tests ask about a module; its tree takes much more memory.

    ``functions`` are their places and lengths, ``calls`` what is called, the first argument where
    it is a constant, and the line.
    """

    docstring: str
    imports: frozenset[str]
    functions: tuple[tuple[str, int], ...]
    calls: tuple[tuple[str, str | None, int], ...]


@cache
def _parsed(path: Path) -> _Parsed:
    tree = ast.parse(_text(path))
    imports, functions, calls = set(), [], []
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)):
                imports |= {module, *(f"{module}.{each.name}" for each in node.names)}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines = (node.end_lineno or 0) - node.lineno + 1
                functions.append((f"{node.lineno} {node.name}", lines))
            case ast.Call(func=ast.Name() | ast.Attribute()):
                calls.append((_called(node.func), _first_constant(node), node.lineno))
    docstring = ast.get_docstring(tree) or ""
    return _Parsed(docstring, frozenset(imports), tuple(functions), tuple(calls))


def _called(function: ast.expr) -> str:
    """Return ``a.b`` for names, and ``.b`` for an attribute of anything else."""
    if isinstance(function, ast.Name):
        return function.id
    assert isinstance(function, ast.Attribute)
    of = function.value
    return f"{of.id if isinstance(of, ast.Name) else ''}.{function.attr}"


def _first_constant(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return repr(first.value) if isinstance(first, ast.Constant) else None


def _mentions(words: tuple[str, ...], paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if any(word in line for word in words):
                yield f"{_name(path)}:{number}: {line.strip()[:80]}"


def _code(document: str) -> str:
    return "\n".join(CODE.findall(_text(ROOT / document)))


def _package(requirement: str) -> str:
    match = WANTED_NAME.match(requirement)
    assert match is not None
    return match.group().lower()


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))
