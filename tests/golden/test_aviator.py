"""Expressions give what AviatorScript 5.2.7 gave, by its recorded results.

The recording (``data/aviator-5.2.7.json``) was made with the real engine and its
defaults. What it refused as syntax is refused when the text is compiled; a function it
did not find is an error when the expression is evaluated. No row is refused on purpose.
"""

import copy
import json
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.language.expressions import (
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

_RECORDING: Final = Path(__file__).with_name("data") / "aviator-5.2.7.json"
RECORDED: Final[dict[str, Any]] = json.loads(_RECORDING.read_text("utf-8"))
CASES: Final[list[dict[str, Any]]] = RECORDED["cases"]
VALUES: Final = [case for case in CASES if "value" in case]
NOT_FOUND: Final = [case for case in CASES if case.get("error") == "FunctionNotFoundException"]
REFUSED: Final = [case for case in CASES if case.get("error") == "ExpressionSyntaxErrorException"]


def _text(case: dict[str, Any]) -> str:
    return str(case["expr"])


def test_every_row_is_checked() -> None:
    assert len(VALUES) + len(NOT_FOUND) + len(REFUSED) == len(CASES) == 70


@pytest.mark.parametrize("case", VALUES, ids=_text)
def test_values_are_the_same_down_to_integers_and_doubles(case: dict[str, Any]) -> None:
    result = compile_expression(case["expr"]).evaluate(RECORDED["env"])

    assert json.dumps(result, sort_keys=True) == json.dumps(case["value"], sort_keys=True)


@pytest.mark.parametrize("case", NOT_FOUND, ids=_text)
def test_unknown_functions_fail_when_they_are_called(case: dict[str, Any]) -> None:
    expression = compile_expression(case["expr"])

    with pytest.raises(ExpressionError, match="unknown function"):
        expression.evaluate(RECORDED["env"])


@pytest.mark.parametrize("case", REFUSED, ids=_text)
def test_what_is_no_expression_is_refused_when_it_is_compiled(case: dict[str, Any]) -> None:
    with pytest.raises(ExpressionSyntaxError, match=r"line 1, column \d+"):
        compile_expression(case["expr"])


def test_no_expression_changes_the_variables() -> None:
    before = copy.deepcopy(RECORDED["env"])
    for case in VALUES:
        compile_expression(case["expr"]).evaluate(RECORDED["env"])

    assert RECORDED["env"] == before
