"""Which ``rayOptions`` are wrong, and how those of a workflow and of a task come together."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from rillflow.definition.model import RayOptions

MOST_CALLS: Final = 10_000
MOST_SYSTEM_RETRIES: Final = 100
SMALLEST_SHARE: Final = 0.0001
"""Ray counts resources in ten thousandths."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_OWN_OPTION: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


class OptionProblem(NamedTuple):
    """An option that cannot be; ``keys`` lead to its value."""

    keys: tuple[str, ...]
    reason: str
    hint: str = ""


def wrong_options(options: RayOptions) -> Iterator[OptionProblem]:
    """Generate the options whose values Ray would refuse, or that are out of bounds."""
    for name in ("num_cpus", "num_gpus", "memory"):
        yield from _wrong_number((name,), getattr(options, name))
    if options.memory is not None and options.memory % 1:
        yield OptionProblem(("memory",), "memory is a whole number of bytes")
    for name, number in (options.resources or {}).items():
        if name in _OWN_OPTION:
            hint = f"write {_OWN_OPTION[name]}: {number:g} instead"
            yield OptionProblem(("resources", name), f"{name} has an option of its own", hint)
        yield from _wrong_number(("resources", name), number)
    yield from _out_of_bounds("max_calls", options.max_calls, 1, MOST_CALLS)
    yield from _out_of_bounds(
        "max_system_retries", options.max_system_retries, 0, MOST_SYSTEM_RETRIES
    )
    for name in ("runtime_env", "accelerator_type"):
        text = getattr(options, name)
        if text is not None and not _NAME.fullmatch(text):
            hint = "runtime_env is a name in the setting ray_runtime_envs"
            reason = f"{name} is a name of letters, digits, `_`, `.` and `-`"
            yield OptionProblem((name,), reason, hint if name == "runtime_env" else "")


def merged(of_flow: RayOptions | None, of_task: RayOptions | None) -> RayOptions | None:
    """Return the options of a task, with those of its workflow where the task has none."""
    if of_flow is None or of_task is None:
        return of_task or of_flow
    given = {key: value for key, value in of_task if value is not None}
    return of_flow.model_copy(update=given)


def _wrong_number(keys: tuple[str, ...], number: float | None) -> Iterator[OptionProblem]:
    name = keys[-1]
    if number is None:
        return
    if number < 0:
        yield OptionProblem(keys, f"{name} is 0 or more")
    elif number > 1 and number % 1 and name != "num_cpus":
        yield OptionProblem(keys, f"{name} is a whole number if it is more than 1")
    elif 0 < number < SMALLEST_SHARE:
        yield OptionProblem(keys, f"{name} is 0, or {SMALLEST_SHARE} or more")


def _out_of_bounds(name: str, number: int | None, least: int, most: int) -> Iterator[OptionProblem]:
    if number is not None and not least <= number <= most:
        yield OptionProblem((name,), f"{name} is a number from {least} to {most}")
