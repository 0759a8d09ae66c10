"""Days of the month that depend on the month: ``15W``, ``L-3`` (spec 7.1).

The calendar library knows numbers, ``L`` and ``LW``; Spring's expressions, and so Rill Flow's, have
these two as well.

Used by `triggers/cron.py`.
"""

import calendar
import re
from datetime import date, datetime
from typing import Final

from cronsim import CronSim

_DAY_OF_MONTH: Final = 3
_SATURDAY: Final = 5
_SUNDAY: Final = 6
_NEAREST: Final = re.compile(r"(0?[1-9]|[12][0-9]|3[01])W")
_BEFORE_LAST: Final = re.compile(r"L-(0?[1-9]|[12][0-9]|30)")
_ANY_DAY: Final = "1"


class MonthDays(CronSim):
    """An expression of six fields, in the notation of the library but for those days."""

    def __init__(self, fields: list[str], at: datetime) -> None:
        """Parse the fields.

        Raises:
            CronSimError: One is malformed.
        """
        terms = fields[_DAY_OF_MONTH].split(",")
        nearest, before_last = map(_NEAREST.fullmatch, terms), map(_BEFORE_LAST.fullmatch, terms)
        self.nearest = frozenset(int(found[1]) for found in nearest if found)
        self.before_last = frozenset(int(found[1]) for found in before_last if found)
        rest = [
            term
            for term in terms
            if not _NEAREST.fullmatch(term) and not _BEFORE_LAST.fullmatch(term)
        ]
        # Without a term, the field would be malformed.
        days = ",".join(rest) or _ANY_DAY
        named = [*fields[:_DAY_OF_MONTH], days, *fields[_DAY_OF_MONTH + 1 :]]
        super().__init__(" ".join(named), at)
        if not rest:
            self.days = set()

    def match_dom(self, d: date) -> bool:
        """Tell whether a day is one of the month's that the expression means."""
        if super().match_dom(d):
            return True
        if not self.nearest and not self.before_last:
            return False
        last = calendar.monthrange(d.year, d.month)[1]
        if last - d.day in self.before_last:
            return True
        return any(d.day == _workday(d, day, last) for day in self.nearest if day <= last)


def _workday(month: date, day: int, last: int) -> int:
    """Return the workday that is nearest to a day, in the same month."""
    weekday = month.replace(day=day).weekday()
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == _SUNDAY:
        return day + 1 if day < last else day - 2
    return day
