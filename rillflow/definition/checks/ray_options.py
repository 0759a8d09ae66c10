"""Which ``rayOptions`` are wrong, and how those of a workflow and of a task come together.

Used by `definition/normal.py` and `definition/checks/validation.py`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rillflow.definition.model import RayOptions

MOST_CALLS: Final = 10_000
MOST_SYSTEM_RETRIES: Final = 100
MOST_BATCH: Final = 1_000
SMALLEST_SHARE: Final = 0.0001
"""Ray counts resources in ten thousandths."""

MOST_OF_A_RESOURCE: Final = 1_000_000
MOST_MEMORY_BYTES: Final = 2**50
"""Ray's own numbers overflow not far beyond, and a node then loses track of what it has."""
MOST_RESOURCES: Final = 32
MOST_LABELS: Final = 16
MOST_PREFIX: Final = 253
MOST_LABEL_VALUE: Final = 1_024

_OF_ANY: Final = frozenset({"max_system_retries"})
_OF_A_PROCESS: Final = _OF_ANY | {
    *("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "label_selector"),
    "runtime_env",
}
_COUNTED: Final[Mapping[str, frozenset[str]]] = {
    "ray": _OF_A_PROCESS | {"max_calls", "detached", "batch"},
    "ray-job": _OF_A_PROCESS,
    "ray-actor": _OF_ANY,
    "serve": _OF_ANY | {"stream"},
}
"""The options that count, by the protocol of the call; an actor has resources of its own."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_RESOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,63}")
_OWN_OPTION: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
_RESERVED: Final = frozenset({"object_store_memory"})

# As Ray has them: names of Kubernetes, alone or in `in(...)`, and `!` for what must not be.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_NAME: Final = re.compile(_LABEL)
_LABEL_VALUE: Final = re.compile(rf"!?{_LABEL}|!?in\({_LABEL}(?:, ?{_LABEL})*\)")


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
    yield from _wrong_resources(options.resources or {})
    yield from _wrong_labels(options.label_selector or {})
    yield from _out_of_bounds("max_calls", options.max_calls, 1, MOST_CALLS)
    yield from _out_of_bounds(
        "max_system_retries", options.max_system_retries, 0, MOST_SYSTEM_RETRIES
    )
    yield from _out_of_bounds("batch", options.batch, 1, MOST_BATCH)
    if options.batch is not None and options.detached:
        hint = "a detached call is that of one task"
        yield OptionProblem(("batch",), "batch is not possible with detached", hint)
    for name in ("runtime_env", "accelerator_type"):
        text = getattr(options, name)
        if text is not None and not _NAME.fullmatch(text):
            hint = "runtime_env is a name in the setting ray_runtime_envs"
            reason = f"{name} is a name of letters, digits, `_`, `.` and `-`"
            yield OptionProblem((name,), reason, hint if name == "runtime_env" else "")


def without_effect(options: RayOptions, protocol: str) -> list[str]:
    """Return the options that mean nothing to a call of Ray by this protocol."""
    counted = _COUNTED[protocol]
    return [name for name, value in options if value is not None and name not in counted]


def merged(of_flow: RayOptions | None, of_task: RayOptions | None) -> RayOptions | None:
    """Return the options of a task, with those of its workflow where the task has none."""
    if of_flow is None or of_task is None:
        return of_task or of_flow
    given = {key: value for key, value in of_task if value is not None}
    return of_flow.model_copy(update=given)


def _wrong_resources(resources: Mapping[str, float]) -> Iterator[OptionProblem]:
    if len(resources) > MOST_RESOURCES:
        yield OptionProblem(("resources",), f"resources has {MOST_RESOURCES} entries at most")
        return
    for name, number in resources.items():
        keys = ("resources", name)
        if name in _OWN_OPTION:
            hint = f"write {_OWN_OPTION[name]}: {number:g} instead"
            yield OptionProblem(keys, f"{name} has an option of its own", hint)
        elif name in _RESERVED or not _RESOURCE.fullmatch(name):
            hint = "a name has up to 64 letters, digits, `_`, `.`, `:`, `/` and `-`"
            yield OptionProblem(keys, f"`{name[:64]}` is no name of a custom resource", hint)
        yield from _wrong_number(keys, number)


def _wrong_labels(labels: Mapping[str, str]) -> Iterator[OptionProblem]:
    if len(labels) > MOST_LABELS:
        yield OptionProblem(("label_selector",), f"label_selector has {MOST_LABELS} labels at most")
        return
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        keys = ("label_selector", key)
        if not _LABEL_NAME.fullmatch(name) or (slash and not _is_label_prefix(prefix)):
            hint = "a name is like `zone` or `example.com/zone`"
            yield OptionProblem(keys, f"`{key[:64]}` is no name of a label", hint)
        if value and not _is_label_value(value):
            hint = "write a value, `!value`, `in(one, two)` or `!in(one, two)`"
            yield OptionProblem(keys, f"`{value[:64]}` selects no label", hint)


def _is_label_prefix(prefix: str) -> bool:
    return len(prefix) <= MOST_PREFIX and all(map(_LABEL_NAME.fullmatch, prefix.split(".")))


def _is_label_value(value: str) -> bool:
    return len(value) <= MOST_LABEL_VALUE and _LABEL_VALUE.fullmatch(value) is not None


def _wrong_number(keys: tuple[str, ...], number: float | None) -> Iterator[OptionProblem]:
    name = keys[-1]
    if number is None:
        return
    most = MOST_MEMORY_BYTES if name == "memory" else MOST_OF_A_RESOURCE
    if number > most:
        yield OptionProblem(keys, f"{name} is {most} at most")
    elif number < 0:
        yield OptionProblem(keys, f"{name} is 0 or more")
    elif number > 1 and number % 1 and name != "num_cpus":
        yield OptionProblem(keys, f"{name} is a whole number if it is more than 1")
    elif 0 < number < SMALLEST_SHARE:
        yield OptionProblem(keys, f"{name} is 0, or {SMALLEST_SHARE} or more")


def _out_of_bounds(name: str, number: int | None, least: int, most: int) -> Iterator[OptionProblem]:
    if number is not None and not least <= number <= most:
        yield OptionProblem((name,), f"{name} is a number from {least} to {most}")
