"""Paths read, match and write as Jayway JsonPath 2.8.0 does, by its recorded results.

The recording (``data/jayway-2.8.0.json``) was made with the real library: ``read`` with
its defaults, ``mapping_read`` and ``set`` with missing last names as null, ``condition``
as a list of paths with exceptions suppressed. Null as a condition means that the library
threw, or that the path ends in a function, which is false for us (spec 2.9).
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from jsonpath_ng import parse

from rillflow.errors import (
    LanguageError,
    PathEvaluationError,
    PathNotFoundError,
    PathSyntaxError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.paths import compile_path, path_tokens, paths_read_once
from rillflow.language.mapping.targets import Draft, check_target, compile_target

_RECORDING: Final = Path(__file__).with_name("data") / "jayway-2.8.0.json"
RECORDED: Final[dict[str, Any]] = json.loads(_RECORDING.read_text("utf-8"))
CASES: Final[list[dict[str, Any]]] = RECORDED["cases"]
PARSING: Final = [case for case in CASES if case["parses"]]
# jsonpath-ng knows no Jayway filters, functions, lists of names or dots before brackets.
PLAIN: Final = [
    case
    for case in PARSING
    if not set("?()'\"") & set(case["path"]) and ".[" not in case["path"] and "$" in case["path"]
]


def _name(case: dict[str, Any]) -> str:
    return f"{case['doc']} {case['path']}"


def _outcome(read: Callable[[JsonValue], JsonValue], document: JsonValue) -> dict[str, JsonValue]:
    try:
        return {"value": read(document)}
    except PathNotFoundError:
        return {"error": "PathNotFoundException"}
    except PathEvaluationError:
        return {"error": "InvalidPathException"}


def _same(left: object, right: object) -> bool:
    """Compare as JSON text, which tells 1 from 1.0 and from true."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_the_same_texts_are_paths(case: dict[str, Any]) -> None:
    if case["parses"]:
        assert compile_path(case["path"]).definite is case["definite"]
    else:
        with pytest.raises(PathSyntaxError):
            compile_path(case["path"])


def test_what_reads_tokens_only_refuses_the_same_texts() -> None:
    texts = {case["path"] for case in CASES}
    for text in texts:
        compiled, target = _error_of(compile_path, text), _error_of(compile_target, text)
        with paths_read_once():
            for _ in range(2):
                assert _error_of(path_tokens, text) == compiled
                assert _error_of(check_target, text) == target
        assert _error_of(path_tokens, text) == compiled


def _error_of(read: Callable[[str], object], text: str) -> tuple[type, str] | None:
    try:
        read(text)
    except LanguageError as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("case", PARSING, ids=_name)
def test_reads_give_the_same_values_and_errors(case: dict[str, Any]) -> None:
    path, document = compile_path(case["path"]), RECORDED["docs"][case["doc"]]

    assert _same(_outcome(path.read_strict, document), case["read"])
    assert _same(_outcome(path.read, document), case["mapping_read"])


@pytest.mark.parametrize("case", PARSING, ids=_name)
def test_sources_of_mappings_read_what_is_missing_as_null(case: dict[str, Any]) -> None:
    path, document = compile_path(case["path"]), RECORDED["docs"][case["doc"]]
    expected = case["mapping_read"]
    if expected.get("error") == "PathNotFoundException":
        expected = {"value": None}

    assert _same(_outcome(path.find, document), expected)


@pytest.mark.parametrize("case", PARSING, ids=_name)
def test_conditions_hold_for_the_same_documents(case: dict[str, Any]) -> None:
    path, document = compile_path(case["path"]), RECORDED["docs"][case["doc"]]
    if case["condition"] is not None:
        assert path.matches(document) is case["condition"]
    elif path.syntax.is_function:
        assert not path.matches(document)
    else:
        with pytest.raises(PathEvaluationError):
            path.matches(document)


@pytest.mark.parametrize("case", RECORDED["set"], ids=_name)
def test_writes_change_the_same_places(case: dict[str, Any]) -> None:
    path, document = compile_path(case["path"]), RECORDED["docs"][case["doc"]]
    before = json.dumps(document)
    draft = Draft(dict(document))
    if "error" in case:
        with pytest.raises(PathEvaluationError):
            draft.set_places(path.places(document), case["value"])
    else:
        draft.set_places(path.places(document), case["value"])

        assert _same(draft.document, case["result"])
    assert json.dumps(document) == before


@pytest.mark.parametrize("case", PLAIN, ids=_name)
def test_plain_paths_agree_with_a_second_library(case: dict[str, Any]) -> None:
    path, document = compile_path(case["path"]), RECORDED["docs"][case["doc"]]
    found = [match.value for match in parse(case["path"]).find(document)]
    values: list[JsonValue] = []
    with contextlib.suppress(PathNotFoundError):
        value = path.read_strict(document)
        values = [value] if path.definite or not isinstance(value, list) else value

    if ".." in case["path"]:  # the libraries walk in different orders
        assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, values))
    else:
        assert _same(values, found)
