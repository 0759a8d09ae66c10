"""An execution and its tasks as text for people to read.

Used by `cli/output`.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from rillflow.cli.visible import visible, visible_json
from rillflow.client.instances import (
    Instance,
    Runs,
    read_instance,
    runs_of,
    without_old_error,
)
from rillflow.client.mapping_warnings import warnings_of
from rillflow.plain_words import of_task_in_plain_words, reasons_of

STYLES: Final = {
    "NOT_STARTED": "dim",
    "READY": "cyan",
    "RUNNING": "yellow",
    "STASHED": "magenta",
    "KEY_SUCCEED": "green",
    "SUCCEEDED": "green",
    "SUCCEED": "green",
    "FAILED": "bold red",
    "SKIPPED": "dim",
}
NAME_WIDTH: Final = 32
FIELD_WIDTH: Final = 10
LEAST_WIDTH: Final = 20
"""Columns that a message has beside its label in the narrowest terminal."""
WITHOUT_LIST: Final = ("foreach", "choice")
"""Categories whose input loses its list when they are through; an empty rest says nothing."""
TRACEBACK: Final = "traceback"
FEW_LINES: Final = 6
MOST_LINES: Final = 100
"""Of a traceback, of one task among others and of one that was asked for."""
NO_WAITS: Final[Mapping[str, str]] = MappingProxyType({})
VALUES: Final = ("input", "output")
"""Fields that hold data, which may be cut; all others are messages."""


def show_execution(
    console: Console,
    view: Mapping[str, Any],
    tasks: Mapping[str, Any],
    now_ms: int,
    waits: Mapping[str, str] = NO_WAITS,
) -> None:
    """Write an execution with these tasks; input, output and context are cut to a line.

    ``waits`` are sentences by task, and under an empty name for the execution itself.
    """
    console.print(Text(visible(str(view.get("execution_id"))), "bold"), soft_wrap=True)
    runs = runs_of(view, now_ms)
    console.print(_heading(view, runs))
    for field, text, style in (*_facts(view), *_wait_of("", waits)):
        _print_text(console, Text(f"{field:<{FIELD_WIDTH}}", "dim"), Text(text, style))
    context = Text(f"{'context':<{FIELD_WIDTH}}", "dim")
    cut_line(console, context.append(_one_line(view.get("context", {}))))
    for name, task in tasks.items():
        console.print()
        show_task(console, name, task, runs, whole=False, waits=waits)


def show_task(
    console: Console,
    name: str,
    task: Mapping[str, Any],
    runs: Runs,
    *,
    whole: bool,
    waits: Mapping[str, str] = NO_WAITS,
) -> None:
    """Write a task instance; ``whole`` writes its input and output out in full.

    ``waits`` has a sentence for a task that has not ended.
    """
    instance = read_instance(name, without_old_error(dict(task)))
    indent = "  " * name.count("-")
    head = Text(f"{indent}{visible(name):<{max(NAME_WIDTH - len(indent), len(name) + 1)}}")
    head.append(f"{visible(instance.status):<12}", STYLES.get(instance.status, ""))
    duration_ms = instance.duration_ms(runs)
    head.append("" if duration_ms is None else f"{seconds(duration_ms)}  ")
    head.append(_kind(instance), "dim")
    console.print(head, soft_wrap=True)
    for field, value, style in (*_wait_of(name, waits), *_fields(instance, task, runs)):
        label = Text(f"{indent}  {field:<{FIELD_WIDTH}}", "dim")
        if field == TRACEBACK:
            _print_traceback(console, label, value, MOST_LINES if whole else FEW_LINES)
        elif field not in VALUES:
            _print_text(console, label, Text(_one_line(value), style))
        elif not whole:
            cut_line(console, label.append(_one_line(value), style))
        elif isinstance(value, dict | list):
            text = visible_json(value)
            console.print(label.append(text.replace("\n", f"\n{indent}  "), style), soft_wrap=True)
        else:
            console.print(label.append(_one_line(value), style), soft_wrap=True)


def _wait_of(name: str, waits: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield why something waits, as other messages are yielded."""
    if name in waits:
        yield "why", _one_line(waits[name]), "yellow"


def _print_traceback(console: Console, label: Text, text: str, most: int) -> None:
    """Write the last lines of a traceback below each other, as Python does."""
    lines = text.rstrip().splitlines()
    if len(lines) > most:
        begins = (n for n in range(-most, 0) if lines[n].startswith("  File "))
        lines = ["...", *lines[next(begins, -most) :]]
    for line in lines:
        console.print(label + Text(visible(line)), soft_wrap=True)
        label = Text(" " * label.cell_len)


def cut_line(console: Console, line: Text) -> None:
    """Write a line, and of one that is too long as much as the terminal is wide."""
    line.truncate(console.width, overflow="ellipsis")
    console.print(line, no_wrap=True)


def _print_text(console: Console, label: Text, text: Text) -> None:
    """Write the whole text beside its label, in as many lines as it takes."""
    room = max(console.width - label.cell_len, LEAST_WIDTH)
    for line in text.wrap(console, room) or [text]:
        console.print(label + line, soft_wrap=True)
        label = Text(" " * label.cell_len)


def redone(times: int) -> str:
    """Write how often an execution was redone, as its heading goes on."""
    return ", redone once" if times == 1 else f", redone {times} times"


def seconds(duration_ms: float) -> str:
    """Write a duration: ``0.4 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole_s = int(duration_ms // 1000)
    if whole_s < 100:
        return f"{duration_ms / 1000:.1f} s"
    if whole_s < 6000:
        return f"{whole_s // 60} min {whole_s % 60} s"
    return f"{whole_s // 3600} h {whole_s % 3600 // 60} min"


def _heading(view: Mapping[str, Any], runs: Runs) -> Text:
    status = str(view.get("dag_status"))
    invoke = view.get("dag_invoke_msg") or {}
    heading = Text(visible(status), STYLES.get(status, ""))
    if view.get("paused"):
        heading.append(" (paused)", "yellow")
    if count := view.get("mapping_warnings"):
        heading.append(f" with {count} mapping warning{'' if count == 1 else 's'}", "yellow")
    times = invoke.get("invoke_time_infos") or []
    if times:
        ended_ms = times[-1].get("end_time")
        lasted = seconds(runs.duration_ms)
        heading.append(f" {'after' if ended_ms else 'for'} {lasted}")
        heading.append(f", begun {moment(times[0]['start_time'])}", "dim")
        if len(times) > 1:
            heading.append(redone(len(times) - 1), "dim")
    return heading


def _facts(view: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the messages of an execution: the name, the text, the style."""
    invoke = view.get("dag_invoke_msg") or {}
    said, hint = reasons_of(invoke.get("msg"), invoke.get("hint"))
    if view.get("dag_status") == "FAILED" and said is not None:
        yield "error", _one_line(said), "red"
        if hint is not None:
            yield "hint", _one_line(hint), "yellow"
    if view.get("quarantine"):
        yield "stuck", _one_line(view["quarantine"]), "red"
    for warning in warnings_of("", dict(view)):
        yield "warning", _one_line(str(warning)), "yellow"


def _kind(instance: Instance) -> str:
    parts = [instance.category]
    if instance.pattern and instance.category == "function":
        parts = [instance.pattern]
    if instance.groups:
        parts.append(", ".join(f"{count} {s.lower()}" for s, count in instance.groups.items()))
    if len(instance.attempts) > 1:
        parts.append(f"{len(instance.attempts)} attempts")
    return visible("  ".join(filter(None, parts)))


def _fields(
    instance: Instance, task: Mapping[str, Any], runs: Runs
) -> Iterator[tuple[str, Any, str]]:
    """Yield what there is to say of an instance: the name, the value, the style."""
    output, traceback = _without_traceback(instance.output)
    yield from _data(instance, output)
    if instance.progress is not None and instance.status != "SUCCEEDED":
        yield "progress", instance.progress, ""
    if instance.sub_flow is not None:
        yield "sub-flow", instance.sub_flow, ""
    yield from _reasons(instance)
    if traceback is not None:
        yield TRACEBACK, traceback, ""
    if len(instance.attempts) > 1:
        yield from _attempts(instance, runs)
    told = list(warnings_of("", dict(task)))
    for warning in told:
        yield "warning", str(warning), "yellow"
    if (uncounted := (task.get("mapping_warnings") or 0) - len(told)) > 0:
        yield "warning", f"{uncounted} more, which are only counted", "yellow"


def _data(instance: Instance, output: Any) -> Iterator[tuple[str, Any, str]]:
    is_emptied = instance.category in WITHOUT_LIST and instance.input == {}
    if instance.input is not None and not is_emptied:
        yield "input", instance.input, ""
    if output is not None:
        yield "output", output, ""


def _without_traceback(output: Any) -> tuple[Any, str | None]:
    """Take the traceback out of what a failed function has put out, as ``docs/ray.md`` says."""
    error = output.get("error") if isinstance(output, dict) else None
    if not isinstance(error, dict) or not isinstance(traceback := error.get(TRACEBACK), str):
        return output, None
    facts = {key: value for key, value in error.items() if key != TRACEBACK}
    return {**output, "error": facts}, traceback


def _reasons(instance: Instance) -> Iterator[tuple[str, Any, str]]:
    said, hint = reasons_of(instance.said, instance.hint)
    if instance.status == "RUNNING" and not instance.said:
        said, hint = None, instance.hint  # it has not failed
    if said is not None:
        is_error = instance.status not in ("SUCCEEDED", "KEY_SUCCEED", "SKIPPED")
        yield ("error", said, "red") if is_error else ("message", said, "")
    if hint is not None:
        yield "hint", hint, "yellow"


def _attempts(instance: Instance, runs: Runs) -> Iterator[tuple[str, Any, str]]:
    for number, attempt in enumerate(instance.attempts, 1):
        lasted = seconds(runs.between_ms(attempt.started_ms, attempt.ended_ms))
        outcome = None if attempt.error is None else of_task_in_plain_words(attempt.error)
        if outcome is not None and not outcome.strip():
            outcome = "it failed with an empty message"
        if outcome is None and number < len(instance.attempts):
            outcome = "without an error; the task was redone"
        elif outcome is None:
            outcome = instance.status.lower()
        yield f"attempt {number}", f"{lasted:>8}  {outcome}", "red" if attempt.error else ""


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return visible(" ".join(text.split()))


def moment(at_ms: int) -> str:
    """Write a time as this machine's zone has it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()
    return at.isoformat(sep=" ", timespec="seconds")


def short_moment(at_ms: int, now_ms: int) -> str:
    """Write a time of this year without the year, any other one as its date, equally wide."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
    return f"{at:%m-%d %H:%M:%S}" if at.year == now.year else f"{at:%Y-%m-%d}    "
