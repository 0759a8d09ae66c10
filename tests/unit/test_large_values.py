"""What is cut out of records and snapshots comes back to the byte, and is found once."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.core.encoding.codec import encode_event
from rillflow.core.events import CallbackReceived, DispatchAnswered
from rillflow.errors import DamagedError
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.stores.append_plan import SlimAppend
from rillflow.stores.large_values import (
    LARGE_VALUE_BYTES,
    joined,
    references,
    slimmed,
)
from tests.fuzzing import examples
from tests.submissions import submission_event

LIMIT = 8
MARK = b"\xfe"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)
SPELLINGS: list[dict[str, Any]] = [
    {"ensure_ascii": False, "separators": (",", ":")},
    {},
    {"ensure_ascii": False},
    {"indent": 2},
    {"separators": (" , ", " :\t")},
]
texts = st.builds(
    lambda value, spelling, around: around + json.dumps(value, **spelling).encode() + around,
    values,
    st.sampled_from(SPELLINGS),
    st.sampled_from([b"", b"\n", b" \t\r\n"]),
)
TRICKY = [
    b"[1.0,1e400,-0.0,1E5,123456789012345678901234567890]",
    b'{"a":"twice as long","a":"another one!","a":"twice as long"}',
    b'{"long enough \\u0061":1,"b":"\\u00e9\\/ \xc3\xa9 \\ud83d\\ude00"}',
    b'{"$ref":"0123456789abcdef","sha256":"0123456789abcdef0123456789abcdef"}',
    b'["unpaired \\ud800 surrogate", "and more than that"]',
    b"[" * 5_000 + b"]" * 5_000,
    b'{"a":' * 100 + b'"a long string"' + b"}" * 100,
    b"not JSON, although long",
    b'["one that ends too ear',
    b'"a long string" "and another"',
    b" " * 50,
    MARK + b"looks like pieces",
]


def tried(records: tuple[bytes, ...], snapshot: bytes | None = None, limit: int = LIMIT) -> Append:
    """Cut an append, check that it is whole again when it is joined, and return it."""
    append = Append(
        execution_id="a:b_c_1",
        fencing_scope=0,
        epoch=0,
        first_seq=1,
        records=records,
        snapshot=snapshot,
        snapshot_seq=1 if snapshot is not None else 0,
    )
    [slim] = slimmed([append], limit)
    stored = stored_of(slim)
    payloads = payloads_of(slim)
    assert references(stored).keys() == payloads.keys()
    whole = joined(stored, payloads)
    assert whole.records == records
    assert whole.snapshot == snapshot
    return slim


def stored_of(append: Append) -> StoredExecution:
    return StoredExecution(
        execution_id=append.execution_id,
        business="a",
        feature="b",
        listing_partition=0,
        definition_id="d",
        submitted_at_ms=1,
        dedicated=False,
        parent_id=None,
        status="RUNNING",
        snapshot=append.snapshot,
        snapshot_seq=append.snapshot_seq,
        records=append.records,
    )


def payloads_of(append: Append) -> dict[bytes, bytes]:
    return append.of_records | append.of_snapshot if isinstance(append, SlimAppend) else {}


def answer(body: bytes) -> bytes:
    return encode_event(DispatchAnswered(at_ms=1, task="t", attempt=1, body=body, error="e" * 9))


def snapshot_of(**fields: Any) -> bytes:
    return b"\x01" + msgspec.json.encode(fields)


@given(texts, texts)
@settings(max_examples=examples(300))
@example(TRICKY[0], TRICKY[1])
@example(TRICKY[2], TRICKY[3])
@example(TRICKY[4], TRICKY[5])
@example(TRICKY[6], TRICKY[7])
@example(TRICKY[8], TRICKY[9])
@example(TRICKY[10], TRICKY[11])
def test_any_text_in_an_event_comes_back_to_the_byte(one: bytes, other: bytes) -> None:
    submitted = submission_event("a:b_c_1", "d", data=one, callback=other)
    called_back = CallbackReceived(at_ms=1, task="t", output=one, ext=other, msg="m" * 20)
    tried((answer(one), encode_event(submitted), encode_event(called_back)))


@given(values)
def test_any_state_comes_back_to_the_byte(value: Any) -> None:
    tried((), snapshot_of(context={"value": value}, tasks={"t": [value, value]}))


@given(st.lists(st.binary(max_size=30), max_size=3).map(tuple), st.none() | st.binary(max_size=30))
@example((MARK, MARK * 20, b""), MARK + b"s")
def test_any_bytes_come_back(records: tuple[bytes, ...], snapshot: bytes | None) -> None:
    tried(records, snapshot)


@given(values)
def test_an_output_and_the_state_that_holds_it_share_their_values(value: Any) -> None:
    text = msgspec.json.encode(value)
    slim = tried(
        (answer(b'{"of":%s}' % text),),
        snapshot_of(context={"deep": {"er": value}}, output={"of": value}, xs=[value]),
        limit=40,
    )
    if len(text) > 40:
        assert isinstance(slim, SlimAppend)
        assert slim.of_snapshot.keys() == slim.of_records.keys()


@pytest.mark.parametrize("spelling", SPELLINGS[:3])
@pytest.mark.parametrize(
    "value", ["wenn möglich 你好 " * 10, [0.5, 1, "é"] * 20, {f"k{n}": n for n in range(20)}]
)
def test_a_function_may_spell_json_as_python_does(value: Any, spelling: dict[str, Any]) -> None:
    body = json.dumps({"it": value}, **spelling).encode() + b"\n"
    slim = tried((answer(body),), snapshot_of(context={"it": value}), limit=40)
    assert isinstance(slim, SlimAppend)
    assert slim.of_snapshot == slim.of_records
    assert list(slim.of_records.values()) == [msgspec.json.encode(value)]


def test_what_is_small_is_the_very_same() -> None:
    append = Append(
        execution_id="a:b_c_1", fencing_scope=0, epoch=0, first_seq=1, records=(b"x" * LIMIT,)
    )
    [same] = slimmed([append], LIMIT)
    assert same is append


def test_a_megabyte_leaves_little_behind_and_is_there_once() -> None:
    text = "x" * 1_000_000
    slim = tried(
        (answer(msgspec.json.encode({"a": text, "b": 1})), answer(b'{"c":2}')),
        snapshot_of(context={"a": text, "b": 1}, tasks=[{"output": {"a": text}}, {"input": text}]),
        LARGE_VALUE_BYTES,
    )
    assert list(payloads_of(slim).values()) == [msgspec.json.encode(text)]
    assert max(map(len, (*slim.records, slim.snapshot or b""))) < 300


def test_a_value_that_is_missing_is_named_with_its_execution() -> None:
    slim = tried((answer(b'"a long enough string"'),), limit=16)
    [sha256] = payloads_of(slim)
    with pytest.raises(DamagedError, match=f"a:b_c_1: .*{sha256.hex()} is missing"):
        joined(stored_of(slim), {})


def test_what_is_respelled_of_an_append_is_bounded_and_the_rest_is_stored_as_it_is() -> None:
    parts = [f"{number}" + "\n\u00e9" * 60_000 for number in range(20)]
    body = json.dumps(parts).encode()
    slim = tried((answer(body),), limit=LARGE_VALUE_BYTES)
    spelled = [b"\\u" in payload for payload in payloads_of(slim).values()]
    # A megabyte, of parts of 480 KB, has the spelling of our encoder, which other records share.
    assert (spelled.count(False), spelled.count(True)) == (2, 18)
