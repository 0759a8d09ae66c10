"""Rules that choose a version (gray releases) or a function (A/B tables) (spec 5.4, 5.5).

A rule that fails, or exceeds its budget, is false. All rules of a choice together have a budget
too, so that a table of looping rules cannot block a process. A workspace makes one choice at a
time, and each in a turn of the event loop, or in a thread, of its own: one event may order a
thousand calls that each need a choice.

Used by `runtime/commands/resource_names.py` and `runtime/definitions/catalogue.py`.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from rillflow.errors import LanguageError, RequestError, WorkLimitError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.jsontypes import JsonObject
from rillflow.language.bounded_cache import BoundedCache
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import (
    MAX_SOURCE_CHARACTERS,
    Budget,
    Expression,
    compile_expression,
    kept_expression,
)

RULE_BUDGET: Final = Budget(steps=20_000, memory_bytes=1 << 22)
"""Budget of one rule, in steps."""
RULES_MAX_STEPS: Final = 200_000
"""Steps of all rules of one choice: ``RULE_STEPS`` for each, and one for each character."""
RULES_MAX_BYTES: Final = 1 << 24
"""Memory of all rules of one choice."""
RULE_STEPS: Final = 200
MOST_RULES: Final = 500
"""Limit of the rules of one choice that are kept."""
UNSUPPORTED: Final = 30110

PATTERN_STEPS: Final = 2_000
"""Steps of compiling a regular expression, which has two slashes around it."""

_QUICK_CHARACTERS: Final = 4096
_QUICK_STEPS: Final = 10_000
"""Steps of a choice that takes a few milliseconds at most."""
_QUICK_BYTES: Final = 1 << 20
_FAILED_BYTES: Final = 1 << 20

_failed: Final = BoundedCache[bool](_FAILED_BYTES)
"""Rules that cannot be compiled, each of which would take as long again at the next choice."""
FOR_RULES: Final = FairThread(most=4_096, most_of_one=16, name="choices")
"""The thread of this process in which rules are compiled, and evaluated if that takes long."""


class RuleTurns:
    """The turns to make a choice, or to change its rules, one at a time for each workspace.

    An owner of executions has its own, so that it never waits for what another one has begun.
    """

    def __init__(self) -> None:
        self._locks = WeakValueDictionary[str, asyncio.Lock]()

    def of(self, workspace: str) -> asyncio.Lock:
        """Return the lock of a workspace, which is kept while somebody has or wants it."""
        return self._locks.setdefault(workspace, asyncio.Lock())


TURNS_OF_PROCESS: Final = RuleTurns()
"""The turns of those who answer requests."""


async def first_that_holds(
    rules: Mapping[str, str],
    *,
    uid: int,
    data: JsonObject,
    workspace: str,
    turns: RuleTurns = TURNS_OF_PROCESS,
) -> str | None:
    """Return the first name, in the order of names, whose rule is true; errors are false.

    What has to be compiled is evaluated in a thread, and so is what takes more than a moment.

    Raises:
        RequestError: The rules together exceed their budget (30110).
    """
    async with turns.of(workspace):
        is_short = sum(map(len, rules.values())) <= _QUICK_CHARACTERS
        if is_short and all(map(_is_known, rules.values())):
            try:
                found = _first(rules, uid, data, TotalBudget(_QUICK_STEPS, _QUICK_BYTES))
            except WorkLimitError:
                pass  # evaluated again, with the whole budget
            else:
                await asyncio.sleep(0)  # the next choice comes in another turn of the loop
                return found
        return await FOR_RULES.run(workspace, partial(_first_within_limits, rules, uid, data))


def refuse_beyond_limits(kept: Mapping[str, str], name: str, rule: str) -> None:
    """Refuse to keep a rule beside those of its choice, if their limits would be exceeded.

    Rules of earlier releases may exceed them; such a rule can be replaced by a shorter one.

    Raises:
        RequestError: It is too long, or there are too many, or they are too long together (30110).
    """
    if len(rule) > MAX_SOURCE_CHARACTERS:
        raise RequestError(
            f"a rule may have up to {MAX_SOURCE_CHARACTERS} characters; this one has {len(rule)}",
            wire_code=UNSUPPORTED,
        )
    if name not in kept and len(kept) >= MOST_RULES:
        raise RequestError(
            f"there may be {MOST_RULES} rules of one choice, and there are {len(kept)}; remove one"
            " first",
            wire_code=UNSUPPORTED,
        )
    before, after = _kept_steps(kept), _kept_steps({**kept, name: rule})
    if after > max(RULES_MAX_STEPS, before - 1):
        raise RequestError(
            f"the rules would take {after} steps together; all rules of one choice may take"
            f" {RULES_MAX_STEPS}, each rule takes {RULE_STEPS} and one for each character of the"
            " rule and its name",
            wire_code=UNSUPPORTED,
        )


def _kept_steps(rules: Mapping[str, str]) -> int:
    return sum(RULE_STEPS + len(name) + len(rule) for name, rule in rules.items())


def _first_within_limits(rules: Mapping[str, str], uid: int, data: JsonObject) -> str | None:
    try:
        return _first(rules, uid, data, TotalBudget(RULES_MAX_STEPS, RULES_MAX_BYTES))
    except WorkLimitError as error:
        hint = (
            f"all rules of one choice may take {RULES_MAX_STEPS} steps and {RULES_MAX_BYTES}"
            f" bytes, each rule {RULE_STEPS} steps and one for each character at least"
        )
        raise RequestError(
            f"the rules take too much: there are {len(rules)} of them, or some loop",
            wire_code=UNSUPPORTED,
            hint=hint,
        ) from error


def _first(rules: Mapping[str, str], uid: int, data: JsonObject, total: TotalBudget) -> str | None:
    for name, rule in sorted(rules.items()):
        total.spend(RULE_STEPS + len(rule))
        expression = _compiled(rule, total)
        if expression is not None and _holds(expression, uid, data, total):
            return name
    return None


def _is_known(rule: str) -> bool:
    return kept_expression(rule) is not None or _failed.get(rule) is not None


def _compiled(rule: str, total: TotalBudget) -> Expression | None:
    """Return a rule, None for one that cannot be compiled; compiling is charged before."""
    kept = kept_expression(rule)
    if kept is not None or _failed.get(rule):
        return kept
    total.spend(rule.count("/") // 2 * PATTERN_STEPS)
    try:
        return compile_expression(rule)
    except LanguageError:
        _failed.put(rule, value=True, size_bytes=len(rule))
        return None


def _holds(expression: Expression, uid: int, data: JsonObject, total: TotalBudget) -> bool:
    try:
        value = expression.evaluate({"uid": uid, "input": data}, budget=RULE_BUDGET, total=total)
    except LanguageError:
        return False
    return value is True
