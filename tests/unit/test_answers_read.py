"""Of an answer that holds more than may be handled nothing is decoded, whatever its status."""

import pytest

from rillflow.gateways.http.responses import answered, bounded
from rillflow.gateways.outbound.exchange import Reply
from rillflow.gateways.outbound.hints import retry_interval_s
from rillflow.jsontypes import MAX_VALUES, encode_json
from tests.loopback import attempt

TOO_MUCH = encode_json(
    {
        "sys_info": {"retry_interval_seconds": 9},
        "statusQueryGetUri": "/poll",
        "a": [0] * MAX_VALUES,
    }
)


@pytest.mark.parametrize("status", [200, 202, 404, 500])
def test_the_attempt_fails_without_the_body(status: int) -> None:
    """The bodies of a failure and of an accepted call were decoded before they were weighed."""
    reply = Reply(status, "", {}, TOO_MUCH)
    answer = answered(attempt("http://h/f"), reply, url="http://h/f", now_ms=0)
    assert answer.poll_url is None
    final = bounded(answer)
    assert final.body is None
    assert final.error is not None


def test_no_hint_is_looked_for_in_it() -> None:
    assert retry_interval_s(TOO_MUCH) == 0
    assert retry_interval_s(TOO_MUCH.replace(b"[" + b"0," * (MAX_VALUES - 1) + b"0]", b"[]")) == 9
