"""A record of Kafka may say in which trace its producer is, by a header (W3C Trace Context)."""

import pytest

from rillflow.triggers.kafka_records import Record, sender_of

SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ([], None),
        ([("kind", b"new")], None),
        ([("kind", b"new"), ("traceparent", SPAN.encode())], SPAN),
        ([("traceparent", b"\xff")], "\xff"),
        ([("traceparent", b"x" * 10_000)], "x" * 256),
    ],
)
def test_the_header_of_a_record_is_read(
    headers: list[tuple[str, bytes]], sender: str | None
) -> None:
    record = Record("orders", 0, 1, 2, None, None, headers)
    assert sender_of(record) == sender
