"""Rows of our own follow from the rules that were measured with the real engines.

Each row of ``data/own-rows.json`` names its rule (spec 2.5, 2.7); the recordings beside
it stay the reference. Executions that are older than these rules keep the first version of
the language, so a row also says what that gives: a journal of theirs must mean what it meant.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from rillflow.errors import LanguageError, MappingError
from rillflow.language.expressions import compile_expression
from rillflow.language.mapping.mappings import compile_mappings
from rillflow.language.versions import CURRENT, FIRST

_FILE: Final = Path(__file__).with_name("data") / "own-rows.json"
ROWS: Final[dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))
EXPRESSIONS: Final[list[dict[str, Any]]] = ROWS["expressions"]["rows"]
SOURCES: Final[list[dict[str, Any]]] = ROWS["sources"]["rows"]


class Copy(NamedTuple):
    """A mapping rule that may not fail."""

    source: str
    transform: str | None
    target: str = "$.input.v"
    tolerance: bool = False


def _same(left: object, right: object) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _evaluate(row: dict[str, Any], language: int) -> Any:
    return compile_expression(row["expr"]).evaluate(ROWS["expressions"]["env"], language=language)


def _map(row: dict[str, Any], language: int) -> Any:
    document = ROWS["sources"]["document"]
    rule = Copy(row["source"], row.get("transform"))
    mapped = compile_mappings([rule]).apply(language=language, **document)
    assert isinstance(mapped.input, dict)
    return mapped.input.get("v")


@pytest.mark.parametrize("row", EXPRESSIONS, ids=lambda row: str(row["expr"]))
def test_an_expression_gives_what_its_rule_says(row: dict[str, Any]) -> None:
    if "fails" in row:
        with pytest.raises(LanguageError, match=row["fails"]):
            _evaluate(row, CURRENT)
    else:
        assert _same(_evaluate(row, CURRENT), row["value"]), row["rule"]


@pytest.mark.parametrize("row", EXPRESSIONS, ids=lambda row: str(row["expr"]))
def test_an_expression_of_an_older_execution_gives_what_it_gave(row: dict[str, Any]) -> None:
    if row.get("before_fails"):
        with pytest.raises(LanguageError):
            _evaluate(row, FIRST)
    else:
        assert _same(_evaluate(row, FIRST), row["before"]), row["rule"]


@pytest.mark.parametrize("row", SOURCES, ids=lambda row: f"{row['source']} {row.get('transform')}")
def test_a_source_reads_as_its_rule_says_also_where_a_rule_may_not_fail(
    row: dict[str, Any],
) -> None:
    if "fails" in row:
        with pytest.raises(MappingError, match=row["fails"]):
            _map(row, CURRENT)
    else:
        assert _same(_map(row, CURRENT), row["value"]), row["rule"]


@pytest.mark.parametrize("row", SOURCES, ids=lambda row: f"{row['source']} {row.get('transform')}")
def test_a_source_of_an_older_execution_reads_as_it_did(row: dict[str, Any]) -> None:
    if row.get("before_fails"):
        with pytest.raises(MappingError):
            _map(row, FIRST)
    else:
        assert _same(_map(row, FIRST), row["value"]), row["rule"]
