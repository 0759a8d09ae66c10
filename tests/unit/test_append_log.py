"""Whoever has appends refused at will has one line a minute in the log, without a traceback."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import rillflow
from rillflow import errors
from rillflow.errors import ConflictError, StoreError
from rillflow.runtime.activation.append_log import PAUSE_S, AppendLog


class Clock:
    """A clock that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def noted(clock: Clock, *errors: StoreError, times: int = 1) -> AppendLog:
    log = AppendLog(clock)
    for error in errors * times:
        log.note(error, 1)
    return log


def test_refusals_have_one_line_a_minute_that_counts_those_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    log = noted(clock, ConflictError("shop:f_c_1: its idempotency key is taken"), times=300)
    clock.now_s += PAUSE_S
    log.note(ConflictError("shop:f_c_2: its idempotency key is taken"), 1)
    lines = [(each.levelno, each.message, vars(each)["times"]) for each in caplog.records]
    assert lines == [
        (logging.WARNING, "append_refused", 1),
        (logging.WARNING, "append_refused", 300),
    ]
    assert not any(each.exc_info for each in caplog.records)


def test_a_refusal_does_not_quote_what_the_database_says(caplog: pytest.LogCaptureFixture) -> None:
    error = ConflictError("PostgreSQL: Key (idempotency_key)=(secret) already exists")
    error.__cause__ = ValueError("secret")
    noted(Clock(), error)
    assert [vars(each)["reason"] for each in caplog.records] == ["ValueError"]


def test_a_store_that_is_away_has_one_traceback_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    noted(Clock(), StoreError("PostgreSQL: gone"), ConflictError("x"), times=50)
    assert [each.message for each in caplog.records] == ["append_failed", "append_refused"]
    assert [bool(each.exc_info) for each in caplog.records] == [True, False]


def _tracebacks(handler: ast.ExceptHandler) -> Iterator[int]:
    """Yield the lines at which a handler logs a traceback."""
    for call in ast.walk(handler):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            of_log = getattr(call.func.value, "id", "") in {"log", "_log", "logger"}
            is_traced = call.func.attr == "exception"
            is_traced |= any(keyword.arg == "exc_info" for keyword in call.keywords)
            if of_log and is_traced:
                yield call.lineno


def test_what_is_expected_has_no_traceback_in_the_log() -> None:
    """A traceback takes a millisecond to write, and who calls chooses how many errors there are."""
    expected = {name for name, each in vars(errors).items() if isinstance(each, type)}
    root = Path(rillflow.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}"
        for path in root.rglob("*.py")
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        for name in ast.walk(handler.type)
        if isinstance(name, ast.Name) and name.id in expected
        for line in _tracebacks(handler)
    ]
    assert not found
