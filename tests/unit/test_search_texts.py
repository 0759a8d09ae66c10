"""A search is read from words and parameters; what is malformed is told with its place."""

import pytest

from rillflow.errors import RequestError
from rillflow.ids import new_execution_id
from rillflow.ports.storage.execution_search import Place, Wanted
from serve.schemas.search_texts import (
    LONGEST_SEARCH,
    cursor_of,
    place_of,
    read_search,
    shown_status,
)

NOW_MS = 1_764_237_660_000
HOUR_MS = 3_600_000
ID = new_execution_id("shop", "order", at_ms=NOW_MS - 5_000, entropy=bytes(10))
UUID = ID.partition("_c_")[2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Wanted()),
        ("status:failed", Wanted(statuses=("failed",))),
        ("status:failed status:succeeded", Wanted(statuses=("failed", "succeed"))),
        ("status:unfinished", Wanted(statuses=("not_started", "running", "key_succeed"))),
        ("flow:shop", Wanted(business="shop")),
        ("shop:order", Wanted(business="shop", feature="order")),
        ("since:1h", Wanted(from_ms=NOW_MS - HOUR_MS)),
        ("since:90s until:1m", Wanted(from_ms=NOW_MS - 90_000, to_ms=NOW_MS - 60_000)),
        ("until:1764237600000", Wanted(to_ms=1_764_237_600_000)),
        ("since:2025-11-27T10:00:00Z", Wanted(from_ms=1_764_237_600_000)),
        ("since:2025-11-27", Wanted(from_ms=1_764_201_600_000)),
        (f"id:{ID}", Wanted(execution_id=ID)),
        (ID, Wanted(execution_id=ID)),
        (f"parent:{ID}", Wanted(parent_id=ID)),
        (f"version:{'0a' * 16}", Wanted(definition_id="0a" * 16)),
        (f"version:md5_{'0a' * 16}", Wanted(definition_id="0a" * 16)),
        ("context.user:bob", Wanted(keys=(("user", "bob"),))),
        ('context.user:"Bob Smith"', Wanted(keys=(("user", "Bob Smith"),))),
        ("context.at:10:30 context.user:a,b", Wanted(keys=(("at", "10:30"), ("user", "a,b")))),
        (
            "context.order.id:7 status:failed context.order.id:7",
            Wanted(statuses=("failed",), keys=(("order.id", "7"),)),
        ),
        (
            "  status:failed   flow:shop:order  since:1h ",
            Wanted(
                statuses=("failed",), business="shop", feature="order", from_ms=NOW_MS - HOUR_MS
            ),
        ),
    ],
)
def test_words_select_executions(text: str, wanted: Wanted) -> None:
    assert read_search({"q": text}, NOW_MS).wanted == wanted


def test_a_parameter_means_what_the_word_with_its_name_means() -> None:
    by_words = read_search({"q": "status:failed,running flow:shop"}, NOW_MS)
    assert read_search({"status": "failed,running", "flow": "shop"}, NOW_MS) == by_words
    assert read_search({"q": "flow:shop", "status": "failed,running"}, NOW_MS) == by_words


def test_a_status_that_only_owners_know_is_looked_for_among_the_stored_one() -> None:
    search = read_search({"q": "status:waiting status:cancelled"}, NOW_MS)
    assert search.asks_owners == {"waiting", "cancelled"}
    assert search.wanted.statuses == ("not_started", "running", "key_succeed", "failed")
    assert not read_search({"q": "status:failed"}, NOW_MS).asks_owners


def test_a_uuid_is_looked_for_around_the_time_that_it_tells() -> None:
    search = read_search({"q": UUID}, NOW_MS)
    assert search.uuid == UUID
    wanted = search.wanted
    assert wanted.from_ms is not None
    assert wanted.to_ms is not None
    assert wanted.from_ms < NOW_MS - 5_000 < wanted.to_ms
    assert wanted.to_ms - wanted.from_ms < HOUR_MS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("statsu:failed", "is status: meant"),
        ("status:broken", "it is one of"),
        ("status:", "word 1 of the search has no value"),
        ("status:failed flow:", "word 2 of the search has no value"),
        ("flow:a flow:b", "given twice"),
        ("flow:sh<op", "business:feature"),
        ("flow:shop:", "business:feature"),
        ("since:yesterday", "ISO 8601"),
        ("since:99999999999d until:-1h", "ISO 8601"),
        ("id:nothing", "UUID"),
        ("parent:shop:order", "id of an execution"),
        ("version:7", "32 hexadecimal digits"),
        ("context.:bob", "declare search keys"),
        ("context.a[0]:bob", "declare search keys"),
        ("context.user:", "word 1 of the search has no value"),
        ('context.user:""', "word 1 of the search has no value"),
        ("context.user:bob context.user:eve", "one value of user"),
        (f"context.user:{'x' * 201}", "up to 200 characters"),
        ("context.user:bob\0", "can be printed"),
        ("context.a:1 context.b:1 context.c:1 context.d:1 context.e:1", ""),
        ("why?", "the keys are"),
        ("x" * (LONGEST_SEARCH + 1), ""),
        ("shop " * 51, ""),
    ],
)
def test_what_is_malformed_is_told(text: str, told: str) -> None:
    with pytest.raises(RequestError) as error:
        read_search({"q": text}, NOW_MS)
    assert told in (error.value.hint or "")
    assert len(str(error.value)) < 300
    assert error.value.http_status == 400


def test_a_cursor_stands_for_its_place() -> None:
    place = Place(NOW_MS, 7)
    assert place_of(cursor_of(place)) == place
    assert place_of(None) is None
    assert place_of("") is None


@pytest.mark.parametrize(
    "cursor", ["x", "%%", "MTIz", "LTEuNQ", "OTk5" * 40, "é", "MS4t", "MS4y\n"]
)
def test_another_text_is_no_cursor(cursor: str) -> None:
    with pytest.raises(RequestError):
        place_of(cursor)


def test_each_status_of_the_store_has_a_word() -> None:
    assert [shown_status(each) for each in ("running", "key_succeed", "succeed", "failed")] == [
        "unfinished",
        "unfinished",
        "succeeded",
        "failed",
    ]
