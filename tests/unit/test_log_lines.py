"""What is logged is one line that says when, how bad, what, and about whom."""

import logging
import re
from typing import Final

from rillflow.runtime.process.log_lines import LONGEST_FACT, LineFormatter

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
