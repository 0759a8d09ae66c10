"""A busy function's wish to be left alone is found in its answer (spec 6.2)."""

from typing import Any

import pytest

from rillflow.gateways.outbound.hints import LONGEST_HINT_S, retry_interval_of, retry_interval_s
from rillflow.jsontypes import encode_json


@pytest.mark.case("AP-19")
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"data": "message"}, 0),
        ({"data": {"sys_info": {"retry_interval_seconds": 100}}}, 100),
        ({"error_detail": {"retry_interval_seconds": 100}}, 100),
        ({"sys_info": {"retry_interval_seconds": 7}}, 7),
        ({"data": "message", "sys_info": {"retry_interval_seconds": 7}}, 7),
    ],
)
def test_the_hint_is_read_from_its_places(answer: dict[str, Any], seconds: int) -> None:
    assert retry_interval_s(encode_json(answer)) == seconds


def test_data_that_is_a_map_hides_the_roots_sys_info() -> None:
    answer: dict[str, Any] = {"data": {"a": 1}, "sys_info": {"retry_interval_seconds": 7}}
    assert retry_interval_of(answer) == 0


def test_sys_info_comes_before_error_detail() -> None:
    answer: dict[str, Any] = {
        "sys_info": {"retry_interval_seconds": 7},
        "error_detail": {"retry_interval_seconds": 9},
    }
    assert retry_interval_of(answer) == 7
    answer["sys_info"]["retry_interval_seconds"] = 0
    assert retry_interval_of(answer) == 9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (2.9, 2),
        ("10", 10),
        (-1, 0),
        (True, 0),
        (None, 0),
        ([], 0),
        ("soon", 0),
        (1e300, LONGEST_HINT_S),
        (10**30, LONGEST_HINT_S),
        (0.5, 0),
    ],
)
def test_only_positive_numbers_count_and_none_lasts_for_ever(value: object, seconds: int) -> None:
    body = encode_json({"error_detail": {"retry_interval_seconds": value}})
    assert retry_interval_s(body) == seconds


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"[]",
        b"{}",
        b'"retry_interval_seconds"',
        b"retry_interval_seconds",
        b'{"error_detail": "retry_interval_seconds"}',
    ],
)
def test_answers_without_the_field_carry_no_hint(body: bytes | None) -> None:
    assert retry_interval_s(body) == 0
