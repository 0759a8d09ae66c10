"""A cron expression has six fields or five, and a time zone whose clocks may change (spec 7.1)."""

import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import FrameType
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.errors import CronError
from rillflow.triggers.cron import LONGEST_TEXT, MACROS, Cron
from tests.fuzzing import examples
from tests.machine_speed import processor_time


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def times(text: str, zone: str, after: str, count: int) -> list[str]:
    cron, at_ms, found = Cron.parse(text, zone), ms(after), []
    for _ in range(count):
        following = cron.next_after(at_ms)
        assert following is not None
        assert following > at_ms
        at_ms = following
        found.append(datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("0/1 * * * * *", "2026-01-01T00:00:01+00:00"),
        ("*/20 * * * * *", "2026-01-01T00:00:20+00:00"),
        ("15 30 6 * * *", "2026-01-01T06:30:15+00:00"),
        ("30 6 * * *", "2026-01-01T06:30:00+00:00"),
        ("0 0 9-17 ? * MON-FRI", "2026-01-01T09:00:00+00:00"),
        ("0 0 0 L * ?", "2026-01-31T00:00:00+00:00"),
        ("0 0 0 ? * 5L", "2026-01-30T00:00:00+00:00"),
        ("0 0 0 ? * friL", "2026-01-30T00:00:00+00:00"),
        ("0 0 0 ? * MON#2", "2026-01-12T00:00:00+00:00"),
        ("0 0 0 1 jan,Feb *", "2026-02-01T00:00:00+00:00"),
        ("0 0 0 ? * 7", "2026-01-04T00:00:00+00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00+00:00"),
        ("0 0 0 15W * *", "2026-01-15T00:00:00+00:00"),
        ("0 0 0 17W 1 *", "2026-01-16T00:00:00+00:00"),
        ("0 0 0 18w 1 *", "2026-01-19T00:00:00+00:00"),
        ("0 0 0 1W 8 *", "2026-08-03T00:00:00+00:00"),
        ("0 0 0 31W 5 *", "2026-05-29T00:00:00+00:00"),
        ("0 0 0 L-3 2 ?", "2026-02-25T00:00:00+00:00"),
        ("0 0 0 20,L-30,24W 1 *", "2026-01-20T00:00:00+00:00"),
        ("0 0 0 ? * SAT-SUN", "2026-01-03T00:00:00+00:00"),
        ("0 0 0 ? * 7-2", "2026-01-04T00:00:00+00:00"),
        ("0 0 0 ? * SUN-MON", "2026-01-04T00:00:00+00:00"),
        ("@hourly", "2026-01-01T01:00:00+00:00"),
        ("@Yearly", "2027-01-01T00:00:00+00:00"),
        ("@weekly", "2026-01-04T00:00:00+00:00"),
    ],
)
def test_the_first_time_of_an_expression(text: str, first: str) -> None:
    assert times(text, "UTC", "2026-01-01T00:00:00+00:00", 1) == [first]


@pytest.mark.parametrize(
    ("days", "dates"),
    [
        ("FRI-SUN", "02 03 04 09"),
        ("6-7", "03 04 10 11"),
        ("*/2", "02 04 05 07"),
        ("MON-SUN/3", "01 04 05 08"),
        ("SUN-TUE", "04 05 06 11"),
        ("THU,*/3", "01 04 05 08"),
    ],
)
def test_a_week_begins_with_monday_and_ends_with_sunday(days: str, dates: str) -> None:
    found = times(f"0 0 0 ? * {days}", "UTC", "2025-12-31T12:00:00+00:00", 4)
    assert " ".join(each[8:10] for each in found) == dates


def test_with_five_fields_every_second_day_begins_with_sunday() -> None:
    assert times("0 0 * * */2", "UTC", "2026-01-03T12:00:00+00:00", 2) == [
        "2026-01-04T00:00:00+00:00",
        "2026-01-06T00:00:00+00:00",
    ]


def test_the_nearest_workday_is_in_the_same_month() -> None:
    assert times("0 0 0 1W,31W * ?", "UTC", "2026-07-31T12:00:00+00:00", 4) == [
        "2026-08-03T00:00:00+00:00",
        "2026-08-31T00:00:00+00:00",
        "2026-09-01T00:00:00+00:00",
        "2026-10-01T00:00:00+00:00",
    ]


def test_a_day_must_be_one_of_the_month_and_one_of_the_week() -> None:
    assert times("0 0 0 13 * FRI", "UTC", "2026-01-01T00:00:00+00:00", 3) == [
        "2026-02-13T00:00:00+00:00",
        "2026-03-13T00:00:00+00:00",
        "2026-11-13T00:00:00+00:00",
    ]


def test_a_time_that_a_change_of_the_clocks_leaves_out_is_moved_behind_the_gap() -> None:
    assert times("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
    # Two times in the gap are one time behind it.
    assert times("0 10,20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:10:00+02:00",
    ]


def test_a_time_that_comes_twice_counts_once() -> None:
    assert times("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00", 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]
    # Also for whoever asks in the second of the two hours.
    assert times("0 30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", 1) == [
        "2026-10-26T02:30:00+01:00"
    ]


def test_a_trigger_of_every_half_hour_follows_the_real_time() -> None:
    assert times("0 */30 * * * *", "Europe/Berlin", "2026-10-25T01:45:00+02:00", 5) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "6 fields"),
        ("* * * *", "6 fields"),
        ("* * * * * * *", "6 fields"),
        ("61 * * * * *", "Bad second in the cron expression .*; it has 0 to 59$"),
        ("* * * * * MOON", "Bad day-of-week"),
        ("? * * * * *", "Bad second"),
        ("*/0 * * * * *", "Bad second"),
        ("5-1 * * * * *", "Bad second"),
        ("0 0 0 1-5W * ?", "Bad day-of-month"),
        ("0 0 0 0W * ?", "Bad day-of-month"),
        ("0 0 0 L-31 * ?", "Bad day-of-month"),
        ("0 0 0 31W 2,4 ?", "never matches"),
        ("0 0 0 ? * SAT-MON", "Bad day-of-week .* a range ends with Sunday at the latest$"),
        ("@every 5m", "no macro"),
        ("0 0 0 30 2 *", "Bad day-of-month .* 1 to 31, in a month that has it$"),
        ("0 0 0 31 2,4 MON", "never matches"),
        ("0 0 0 31 2,4,6 MON", "never matches"),
        ("\0 * * * * *", "Bad second"),
        ("٣ * * * * *", "Bad second"),
        ("* * * * * " + "9" * 400, f"{LONGEST_TEXT} characters"),
        ("* * * * * " + "9" * 200, "Bad day-of-week"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(text: str, reason: str) -> None:
    with processor_time(0.5), pytest.raises(CronError, match=reason):
        Cron.parse(text)


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "x" * 400, "\0", "Europe"]
)
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(CronError, match="no time zone"):
        Cron.parse("@daily", zone)


def test_after_the_end_of_time_there_is_nothing() -> None:
    cron = Cron.parse("* * * * * *", "Pacific/Auckland")
    assert cron.next_after(10**15) is None
    assert cron.next_after(10**30) is None
    assert cron.next_after(-(10**30)) is None
    assert cron.next_after(-5) == 0 or cron.next_after(-5) == 1000


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "*/15", "7,30"]),
    st.sampled_from(["*", "0", "*/20", "10-12", "59"]),
    st.sampled_from(["*", "2", "1-3", "*/5", "23"]),
    st.sampled_from(["*", "1", "29", "L", "10-20", "L-2"]),
    st.sampled_from(["*", "2", "3,10", "*/4"]),
    st.sampled_from(["*", "MON", "0-3", "5L", "2#1"]),
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
START = st.integers(ms("2020-01-01T00:00:00+00:00"), ms("2030-01-01T00:00:00+00:00"))


@given(FIELDS, ZONES, START)
@settings(max_examples=examples(200))
def test_the_next_time_does_not_depend_on_how_often_one_asks(
    fields: tuple[str, ...], zone: str, start_ms: int
) -> None:
    try:
        cron = Cron.parse(" ".join(fields), zone)
    except CronError:
        return
    found = cron.next_after(start_ms)
    if found is None:
        return
    assert found > start_ms
    assert found % 1000 == 0
    middle_ms = (start_ms + found) // 2
    assert cron.next_after(middle_ms) == found
    assert cron.next_after(found - 1) == found


@given(FIELDS, START)
@settings(max_examples=examples(100))
def test_without_changes_of_clocks_every_time_has_the_fields(
    fields: tuple[str, ...], start_ms: int
) -> None:
    try:
        cron = Cron.parse(" ".join(fields))
    except CronError:
        return
    found = cron.next_after(start_ms)
    if found is None:
        return
    at = datetime.fromtimestamp(found / 1000, UTC)
    for text, value in zip(fields[:3], (at.second, at.minute, at.hour), strict=True):
        assert _holds(text, value)
    if fields[3] in {"L", "L-2"}:
        assert (at + timedelta(days=1 if fields[3] == "L" else 3)).day == 1
    elif fields[3] != "*":
        assert _holds(fields[3], at.day)
    if fields[5] == "MON":
        assert at.weekday() == 0


def _holds(text: str, value: int) -> bool:
    if text == "*":
        return True
    if text.startswith("*/"):
        return value % int(text[2:]) == 0
    if "-" in text:
        low, high = map(int, text.split("-"))
        return low <= value <= high
    return value in map(int, text.split(","))


def test_every_macro_is_an_expression() -> None:
    for macro, text in MACROS.items():
        assert Cron.parse(macro).next_after(5) == Cron.parse(text).next_after(5)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("day", ["1-7 * 1#5", "29 2 1", "30 2 *", "L 2 1#1", "*/31 * 0#5"])
def test_an_expression_that_matches_rarely_or_never_costs_no_more_than_others(
    day: str, zone: str
) -> None:
    looked = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal looked
        looked += event == "call" and frame.f_code is CronSim.match_day.__code__

    sys.setprofile(note)
    try:
        with suppress(CronError):
            Cron.parse(f"1 2 0 {day}", zone)
    finally:
        sys.setprofile(None)
    assert looked < 1_500  # day by day it would be 18,000 for 50 years


@settings(max_examples=examples(200))
@given(
    st.sampled_from(["*", "1-7", "L", "LW", "29", "29-31", "15", "*/5", "1,31", "2-30/9"]),
    st.sampled_from(["*", "2", "2,4", "6-9", "12", "*/3"]),
    st.sampled_from(["*", "1", "1#5", "1#1", "5L", "0", "1-5", "6#2", "7"]),
    st.sampled_from(["0", "*", "2", "23"]),
    st.datetimes(datetime(1970, 1, 2), datetime(2080, 1, 1)),  # noqa: DTZ001 - made UTC below
)
def test_the_next_times_are_those_that_the_library_finds_day_by_day(
    day: str, month: str, weekday: str, hour: str, after: datetime
) -> None:
    text, after = f"0 30 {hour} {day} {month} {weekday}", after.replace(microsecond=0, tzinfo=UTC)
    walk = CronSim(text, after)
    walk.day_and = True
    found = after
    for _ in range(3):
        wanted: datetime | None = next(walk, None)
        at_ms = Cron(text, UTC).find_after(int(found.timestamp()))
        assert (wanted is None) == (at_ms is None)
        if wanted is None or at_ms is None:
            break
        found = datetime.fromtimestamp(at_ms / 1000, UTC)
        assert found == wanted
