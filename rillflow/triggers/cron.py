"""Cron expressions with six fields (seconds first) or five, in a time zone (spec 7.1).

As in Spring, a day must match the day of the month *and* the day of the week, ``?`` means ``*`` in
these two fields, and there are macros. A time that a change of the clocks leaves out is moved to
the first one after the gap. A time that comes twice counts once, unless minute or hour begin with
``*``: such a trigger follows the real time.

The library looks for the next time day by day; whole months are passed over here, so that an
expression that matches rarely, or never, costs no more than others.

Used by `triggers/schedule.py`.
"""

import calendar
import copy
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSimError

from rillflow.errors import CronError
from rillflow.triggers.month_days import MonthDays

LONGEST_TEXT: Final = 256
LONGEST_ZONE: Final = 64
MACROS: Final = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
LONGEST_YEARS: Final = 50
LATEST: Final = datetime(9990, 1, 1, tzinfo=UTC)
_TO_SUNDAY: Final = re.compile(r"-SUN(?![A-Z#])")
_FROM_SUNDAY: Final = re.compile(r"(?<![0-9#])7-")
_EACH_DAY: Final = re.compile(r"(?<![^,])\*/")
_LAST_DAY: Final = re.compile(rf"({'|'.join(DAYS)})L")
_FIELDS: Final = (5, 6)
_ALLOWED: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, in a month that has it",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT; a range ends with Sunday at the latest",
}
"""The values of each field, by the name that the library has for it."""
_DAY_OF_MONTH: Final = 3
_DAY_OF_WEEK: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_KEPT: Final = 4_096


class _Search(MonthDays):
    """Looks for the next time, and for its day month by month.

    Which days of a month match depends on its length and the day of the week of its first day
    only.
    """

    def __init__(self, fields: list[str], at: datetime) -> None:
        super().__init__(fields, at)
        self._matching: dict[tuple[int, int], tuple[int, ...]] = {}

    def advance_day(self) -> bool:
        """Go to the next day that matches, unless this one does.

        Raises:
            StopIteration: There is none within 50 years.
        """
        day = self.dt.date()
        if self.match_day(day):
            return False
        found = self._day_after(day)
        if found is None:
            raise StopIteration
        self.dt = datetime.combine(found, time(), tzinfo=self.dt.tzinfo)
        return True

    def _day_after(self, day: date) -> date | None:
        for year in range(day.year, min(day.year + LONGEST_YEARS, LATEST.year) + 1):
            for month in sorted(self.months):
                if (year, month) < (day.year, day.month):
                    continue
                passed = day.day if (year, month) == (day.year, day.month) else 0
                for number in self._days_of(year, month):
                    if number > passed:
                        return date(year, month, number)
        return None

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        shape = calendar.monthrange(year, month)
        known = self._matching.get(shape)
        if known is None:
            days = (date(year, month, number) for number in range(1, shape[1] + 1))
            known = self._matching[shape] = tuple(it.day for it in days if self.match_day(it))
        return known


class Cron:
    """A parsed expression in its time zone; immutable."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        """Parse an expression.

        Raises:
            CronError: It is none.
        """
        fields = _fields(text)
        try:
            # Any time without a change of clocks will do: it is replaced in ``next_after``.
            prototype = _Search(fields, datetime(2000, 1, 1, tzinfo=zone))
        except (CronSimError, ValueError) as error:
            raise CronError(f"{error} in the cron expression {text!r}{_allowed(error)}") from error
        prototype.day_and = True
        counts_once = (
            zone is not UTC and not fields[1].startswith("*") and not fields[2].startswith("*")
        )
        self._fixed_zone = zone if counts_once else None
        prototype.fixup_tz = self._fixed_zone
        self._prototype = prototype
        self._zone = zone

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Self:
        """Parse an expression in a named zone; recent ones are kept.

        Raises:
            CronError: It is none, never matches, or there is no such zone.
        """
        if len(text) > LONGEST_TEXT:
            raise CronError(f"a cron expression has up to {LONGEST_TEXT} characters")
        cron = _parsed(text.strip(), zone)
        assert isinstance(cron, cls)  # noqa: S101 - for the type checker
        return cron

    def next_after(self, at_ms: int) -> int | None:
        """Return the first time after one, in milliseconds since the epoch; None if there is none.

        It gives up after 50 years without a match. Recent answers are kept: many triggers have one
        expression, and each asks several times.
        """
        # All times are whole seconds.
        return _next_after(self, at_ms // 1000)

    def find_after(self, at_s: int) -> int | None:
        """Return what ``next_after`` does, computed anew; the time is in seconds."""
        try:
            after = (_EPOCH + timedelta(seconds=at_s)).astimezone(self._zone)
        except (OverflowError, ValueError):
            return None
        if not _EPOCH <= after < LATEST:
            return None if after >= LATEST else self.find_after(0)
        walk = copy.copy(self._prototype)
        walk.dt = after.replace(microsecond=0)
        if self._fixed_zone is not None:
            # The hour before a change may come again: what it names has been then.
            walk.dt = walk.dt.replace(tzinfo=None, fold=0)
        try:
            found = next(walk)
            while found.astimezone(UTC) <= after:
                found = next(walk)
        except (StopIteration, OverflowError, ValueError):
            return None
        return (found.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(_MOST_KEPT)
def _next_after(cron: Cron, at_s: int) -> int | None:
    return cron.find_after(at_s)


@lru_cache(_MOST_KEPT)
def _parsed(text: str, zone: str) -> Cron:
    cron = Cron(text, time_zone(zone))
    if cron.next_after(0) is None:
        raise CronError(f"the cron expression {text!r} never matches")
    return cron


def time_zone(name: str) -> tzinfo:
    """Return a time zone by its name in the IANA database.

    Raises:
        CronError: There is none.
    """
    if name == "UTC":
        return UTC
    known = len(name) <= LONGEST_ZONE and not name.startswith(("/", ".")) and ".." not in name
    try:
        if known:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise CronError(f"there is no time zone {name[:LONGEST_ZONE]!r}; one is Europe/Berlin")


def _allowed(error: Exception) -> str:
    """Return what the field may have of which the library says that it is bad."""
    values = _ALLOWED.get(str(error).removeprefix("Bad "))
    return f"; it has {values}" if values else ""


def _fields(text: str) -> list[str]:
    """Return six fields in the notation of the library.

    Raises:
        CronError: There are more or fewer.
    """
    if text.startswith("@"):
        macro = MACROS.get(text.lower())
        if macro is None:
            raise CronError(f"there is no macro {text!r}; there are {', '.join(MACROS)}")
        return macro.split()
    fields = text.upper().split()
    if len(fields) not in _FIELDS:
        raise CronError(
            "Cron expression must consist of 6 fields (second minute hour day month weekday), or 5"
            f" without the second; {text!r} has {len(fields)}"
        )
    is_of_spring = len(fields) == max(_FIELDS)
    if not is_of_spring:
        fields.insert(0, "0")
    for day in (_DAY_OF_MONTH, _DAY_OF_WEEK):
        if fields[day] == "?":
            fields[day] = "*"
    week = _LAST_DAY.sub(lambda found: f"{DAYS.index(found[1])}L", fields[_DAY_OF_WEEK])
    week = _FROM_SUNDAY.sub("0-", _TO_SUNDAY.sub("-7", week))
    # In Spring, every second day begins with Monday; with five fields, with Sunday.
    fields[_DAY_OF_WEEK] = _EACH_DAY.sub("1-7/", week) if is_of_spring else week
    return fields
