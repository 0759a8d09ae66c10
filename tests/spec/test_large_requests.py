"""What is large in an input is sent like what is small, though it is not decoded (spec 4.3)."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from rillflow.jsontypes import encode_json
from tests.spec.test_http_requests import EXECUTION, FORM, TASK, built, query_of


@pytest.mark.parametrize("number", [3, 3_000])
def test_what_is_large_is_sent_like_what_is_small(number: int) -> None:
    entries: list[Any] = [{"a": None, "b": [None, 1.0, 'é"'], "c": {}}] * number
    body = built({"l": entries, "body": {"n": None, "m": entries}, "generate_auth": "no"})
    sent = {"l": entries, "n": None, "m": entries}
    assert body.body == encode_json({"execution_id": EXECUTION, **sent})
    form = built({**FORM, "l": entries}).body
    assert form is not None
    kept = encode_json([{"b": [None, 1.0, 'é"'], "c": {}}] * number).decode()
    assert dict(parse_qsl(form.decode()))["l"] == kept
    assert query_of(built({"query": {"l": entries, "s": "text", "n": 1}})) == {
        "execution_id": EXECUTION,
        "l": kept,
        "s": "text",
        "n": "1",
        "name": TASK,
    }
