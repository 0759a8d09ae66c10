"""A call of Ray is told the span of its attempt in its input, where it asks for that."""

from typing import Any

import pytest

from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.attempts import fields_of

SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("given", "span", "told"),
    [
        ({"traceparent": "traceparent", "a": 1}, SPAN, {"traceparent": SPAN, "a": 1}),
        ({"traceparent": "traceparent"}, None, {"traceparent": ""}),
        ({"traceparent": "mine"}, SPAN, {"traceparent": "mine"}),
        ({"a": "traceparent"}, SPAN, {"a": "traceparent"}),
    ],
)
async def test_a_field_of_that_name_gets_the_header(
    given: dict[str, Any], span: str | None, told: dict[str, Any]
) -> None:
    request = DispatchRequest(
        execution_id="shop:order_c_1",
        task="score",
        attempt=1,
        pattern="task_sync",
        resource_name="serve://scores",
        input=encode_json(given),
        traceparent=span,
    )
    assert decode_json(await fields_of(request)) == told
