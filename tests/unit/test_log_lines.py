"""What is logged is one line that says when, how bad, what, and about whom."""

import json
import logging
import re
from typing import Any, Final

from rillflow.runtime.process.log_lines import (
    LONGEST_FACT,
    LONGEST_TRACEBACK,
    JsonFormatter,
    LineFormatter,
)

TIME: Final = re.compile(r"\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


def line_of(message: str, **facts: object) -> str:
    record = logging.LogRecord("rillflow.owner", logging.WARNING, "host.py", 1, message, (), None)
    vars(record).update(facts)
    line = LineFormatter().format(record)
    assert TIME.match(line)
    return TIME.sub("", line)


def test_facts_stand_behind_the_event_in_their_order() -> None:
    line = line_of("not_resumed", execution_id="shop:order_c_1", reason='it "broke"', tries=3)
    assert line == (
        'WARNING rillflow.owner not_resumed execution_id="shop:order_c_1"'
        ' reason="it \\"broke\\"" tries=3'
    )


def test_an_event_without_facts_is_a_line_of_its_own() -> None:
    assert line_of("fenced_exit") == "WARNING rillflow.owner fenced_exit"


def test_a_fact_begins_no_line_and_is_not_endless() -> None:
    line = line_of("odd", reason="a\n2026-11-26 WARNING forged\r", more="x" * 5_000, what={1, 2})
    assert "\n" not in line
    assert "\r" not in line
    assert len(line) < LONGEST_FACT + 200
    assert line.endswith('what="{1, 2}"')


def object_of(message: str, *, error: BaseException | None = None, **facts: object) -> Any:
    failed = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("rillflow.owner", logging.ERROR, "host.py", 1, message, (), failed)
    vars(record).update(facts)
    line = JsonFormatter("rillflow:execution:0").format(record)
    assert len(line.splitlines()) == 1
    return json.loads(line)


def test_an_event_is_an_object_with_the_same_facts() -> None:
    found = object_of("not_resumed", execution_id="shop:order_c_1", tries=3, is_new=False, what={1})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "ERROR",
        "logger": "rillflow.owner",
        "process": "rillflow:execution:0",
        "event": "not_resumed",
        "execution_id": "shop:order_c_1",
        "tries": 3,
        "is_new": False,
        "what": "{1}",
    }


def test_a_fact_replaces_no_field_of_the_object_and_breaks_no_line() -> None:
    found = object_of(
        "odd", event="forged", level="x\nWARNING", more="x" * 5_000, far=["y" * 5_000]
    )
    assert (found["event"], found["event_"], found["level"]) == ("odd", "forged", "ERROR")
    assert found["level_"] == "x\nWARNING"
    assert max(map(len, (found["more"], found["far"]))) <= LONGEST_FACT + 3


def test_an_exception_is_in_the_object_up_to_a_length() -> None:
    found = object_of("failed", error=ValueError("x" * 2 * LONGEST_TRACEBACK))
    assert found["traceback"].startswith("ValueError: xxx")
    assert len(found["traceback"]) == LONGEST_TRACEBACK


def test_an_event_of_a_traced_execution_has_the_id_of_its_trace() -> None:
    formatter = JsonFormatter("p", {"shop:order_c_1": "a" * 32}.get)

    def shown(**facts: object) -> Any:
        record = logging.LogRecord("r", logging.ERROR, "host.py", 1, "odd", (), None)
        vars(record).update(facts)
        return json.loads(formatter.format(record))

    assert shown(execution_id="shop:order_c_1")["trace_id"] == "a" * 32
    assert "trace_id" not in shown(execution_id="shop:order_c_2")
    assert "trace_id" not in shown(execution_id=7)
    assert "trace_id" not in shown()
