"""Conditions on the output of a function, and when failed attempts are repeated.

Used by `flow` and `flow/calls.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rillflow.definition.model import Retry
from rillflow.flow.options import made
from rillflow.flow.placeholders.expressions import filter_of
from rillflow.flow.placeholders.values import Reference, Value, node_of, references_in
from rillflow.flow.places import refusal

Condition: TypeAlias = Callable[[Any], Any] | str | Sequence[str]
"""A function of the output, such as ``lambda output: output.count >= 3``, or paths."""


@dataclass(frozen=True, slots=True)
class _Output:
    key: str = "output"
    is_list: bool = False


_OUTPUT: Final = _Output()


def retry(  # noqa: PLR0913 - the fields of the language
    times: int,
    *,
    interval_s: int | None = None,
    multiplier: float | None = None,
    max_interval_s: int | None = None,
    jitter: float | None = None,
    when: Condition | None = None,
) -> Retry:
    """Return how failed attempts are repeated, for the option ``retry`` of a call.

    Args:
        times: Most attempts after the first.
        interval_s: Seconds before the next attempt.
        multiplier: Factor of the wait, after each attempt.
        max_interval_s: The longest wait.
        jitter: Share of the wait that is added at random, at most.
        when: Which failures are repeated: a function of the output, or paths of which one finds
            something. All are without it.
    """
    given = {
        "times": times,
        "interval_s": interval_s,
        "max_interval_s": max_interval_s,
        "multiplier": multiplier,
        "jitter": jitter,
    }
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not is_number:
            raise refusal(f"{name} is a number, not {value!r:.40}")
    fields = {"max_retries": given.pop("times"), **given, "conditions": conditions_of(when)}
    return made(Retry, fields)


def conditions_of(condition: Condition | None) -> tuple[str, ...] | None:
    """Return a condition on the output in the language.

    Raises:
        FlowError: It reads something else than the output, or is more than comparisons.
    """
    if condition is None:
        return None
    if isinstance(condition, str):
        return (condition,)
    if not callable(condition):
        return tuple(condition)
    said = condition(Value(Reference(_OUTPUT)))
    if not isinstance(said, Value):
        raise refusal(f"the condition gives {said!r:.40} whatever the output is")
    node = node_of(said)
    if any(reference.origin is not _OUTPUT for reference in references_in(node)):
        raise refusal("the condition of a call sees its output only, no other value of the flow")
    return (filter_of(node, "$.output"),)
