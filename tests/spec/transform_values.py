"""Evaluating transforms on one small context, for the specifications of expressions."""

import json
from typing import Any, Final

import pytest

from rillflow.errors import ExpressionError
from rillflow.language.expressions import compile_expression

CONTEXT: Final[dict[str, Any]] = {
    "x": 5,
    "name": "bob",
    "list": [3, 1, 2],
    "map": {"a": {"b": 1}},
    "flag": True,
    "price": 1.5,
    "none": None,
}


def value_of(text: str, source: Any = 7) -> Any:
    """Evaluate with this source and the context above."""
    env = {"source": source, "context": CONTEXT, "input": {}, "output": {}}
    return compile_expression(text).evaluate(env)


def same(left: Any, right: Any) -> bool:
    """Compare as JSON text, which tells 1 from 1.0 and from true."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def failure_of(text: str, source: Any = 7) -> str:
    """Evaluate what must fail; return the message."""
    with pytest.raises(ExpressionError) as caught:
        value_of(text, source)
    return str(caught.value)
