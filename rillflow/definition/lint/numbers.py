"""Warnings: numbers of a definition that have no effect at run time.

Some fields are text in Rill Flow's model, so that they may be paths; text that is not a number is
accepted, and then the time-out, delay or limit is not set (spec 3.8, 3.9, 3.13). Others are
numbers, of which some have no meaning (spec 3.12).

Used by `definition/lint/warnings.py`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.model import (
    FunctionTask,
    Polling,
    Retry,
    Synchronization,
    Task,
    Timeline,
)
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import LanguageError
from rillflow.language.text.literals import parse_literal, whole_number

_RUN_TIME: Final = 30406

_WITH_UNIT: Final = re.compile(r"([0-9]{1,9})\s*([a-z]+)")
_UNITS_S: Final = {
    unit: seconds
    for seconds, units in (
        (1, ("s", "sec", "secs", "second", "seconds")),
        (60, ("m", "min", "mins", "minute", "minutes")),
        (3_600, ("h", "hour", "hours")),
        (86_400, ("d", "day", "days")),
    )
    for unit in units
}


class _Bound(NamedTuple):
    """What a number must be to count, and what happens if it is not."""

    key: str
    attribute: str
    counts: Callable[[float], bool]
    otherwise: str


_RETRY: Final = (
    _Bound("maxRetryTimes", "max_retries", lambda it: it >= 0, "0 counts, nothing is repeated"),
    _Bound("intervalInSeconds", "interval_s", lambda it: it >= 0, "0 counts, without a wait"),
    _Bound("maxIntervalInSeconds", "max_interval_s", lambda it: it > 0, "the wait has no maximum"),
    _Bound("multiplier", "multiplier", lambda it: it > 0, "1 counts, all waits are the same"),
    _Bound("jitter", "jitter", lambda it: 0 <= it <= 1, "the nearest of 0 and 1 counts"),
)
_POLLING: Final = (
    _Bound("intervalInSeconds", "interval_s", lambda it: it > 0, "another interval counts"),
    _Bound("maxIntervalInSeconds", "max_interval_s", lambda it: it > 0, "another one counts"),
)


def number_findings_of_timeline(
    timeline: Timeline | None, path: Path, *, of_flow: bool = False
) -> Iterator[Finding]:
    """Generate the time limits and delays that are no numbers; ``of_flow`` is the definition's."""
    if timeline is None:
        return
    example = "$.context.patience" if of_flow else "$.input.patience"
    owner = "execution" if of_flow else "task"
    yield from _text_finding(
        timeline.timeout_s,
        (*path, "timeoutInSeconds"),
        "a whole number of seconds above 0",
        f"the {owner} gets no time-out of its own",
        _seconds_hint(timeline.timeout_s, example),
        least=1,
    )
    if of_flow:
        return
    yield from _text_finding(
        timeline.suspense_interval_s,
        (*path, "suspenseIntervalSeconds"),
        "a whole number of seconds",
        "the task starts without a delay",
        _seconds_hint(timeline.suspense_interval_s, example),
    )
    yield from _text_finding(
        timeline.suspense_timestamp_ms,
        (*path, "suspenseTimestamp"),
        "a time in milliseconds since 1970",
        "the task starts without a delay",
        "write digits, such as 1767225600000, or a path such as $.input.start_ms",
    )


def number_findings_of_synchronization(
    synchronization: Synchronization, path: Path
) -> Iterator[Finding]:
    """Generate a limit of concurrency that is no number, or that does not count."""
    if not is_blank(synchronization.max_concurrency) and not synchronization.conditions:
        message = "maxConcurrency without conditions does not count: all iterations run at once"
        hint = "write conditions: [$.input] beside it, which always hold"
        yield Finding(_RUN_TIME, message, (*path, "maxConcurrency"), hint=hint)
        return
    yield from _text_finding(
        synchronization.max_concurrency,
        (*path, "maxConcurrency"),
        "a whole number above 0",
        "all iterations run at once",
        "write digits, such as 2, or a path such as $.input.at_once",
        least=1,
    )


def number_findings_of_function(task: FunctionTask, path: Path) -> Iterator[Finding]:
    """Generate the numbers of retries and polls that do not count as they are."""
    yield from _bound_findings(task.retry, _RETRY, (*path, "retry"))
    yield from _bound_findings(task.polling, _POLLING, (*path, "polling"))


def flag_findings_of_timeline(task: Task, path: Path) -> Iterator[Finding]:
    """Generate a ``skipOnTimeout`` that is neither of the words that it may be."""
    said = task.timeline.skip_on_timeout if task.timeline else None
    if said is not None and not is_blank(said) and said.strip().lower() not in ("true", "false"):
        message = f"skipOnTimeout `{shown(said)}` is not true, so a time-out skips nothing"
        where = (*path, "timeline", "skipOnTimeout")
        yield Finding(_RUN_TIME, message, where, hint="write true or false")


def _text_finding(  # noqa: PLR0913 - the parts of one sentence
    text: str | None,
    path: Path,
    wanted: str,
    otherwise: str,
    hint: str,
    *,
    least: int | None = None,
) -> Iterator[Finding]:
    if text is None or is_blank(text) or text.startswith("$"):
        return
    try:
        number = whole_number(parse_literal(text))
    except LanguageError:
        number = None
    if number is None or (least is not None and number < least):
        message = f"{path[-1]} `{shown(text)}` is not {wanted}: {otherwise}"
        yield Finding(_RUN_TIME, message, path, hint=hint)


def _seconds_hint(text: str | None, path: str) -> str:
    match = _WITH_UNIT.fullmatch((text or "").strip().lower())
    if match and match[2] in _UNITS_S:
        return f"did you mean `{int(match[1]) * _UNITS_S[match[2]]}`?"
    return f"write digits, such as 10, or a path such as {path}"


def _bound_findings(
    clause: Retry | Polling | None, bounds: tuple[_Bound, ...], path: Path
) -> Iterator[Finding]:
    for bound in bounds if clause is not None else ():
        number = getattr(clause, bound.attribute)
        if number is not None and not bound.counts(number):
            message = f"{bound.key} {number} has no meaning: {bound.otherwise}"
            yield Finding(_RUN_TIME, message, (*path, bound.key))
