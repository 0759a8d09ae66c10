"""The rules of a task: what each mapping gave and each condition found, and what others would.

Mappings and conditions are evaluated again, with the data of a state. Evaluations have the budget
of one turn. Values are cut before anything else is done with them, since rules may make values that
are far longer as text than in memory, and masked where their names suggest a secret.

Used by `runtime/histories` and `serve/routes/console_api`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final, NamedTuple

from rillflow.core.inspection.cutting import Sizes, cut
from rillflow.core.inspection.reasons import reasons_in
from rillflow.core.mapping_warnings import warnings_of
from rillflow.core.plan import Plan, TaskPlan
from rillflow.core.redaction import MASK, redacted
from rillflow.core.state import ExecutionState
from rillflow.core.turn import Turn, trigger_address
from rillflow.definition.model import (
    ForeachTask,
    FunctionTask,
    MappingRule,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
)
from rillflow.definition.secret_names import names_secret
from rillflow.errors import LanguageError, RequestError, WorkLimitError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.condition_parts import Explanation, Part, explain
from rillflow.language.mapping.ineffective_rules import why_no_value
from rillflow.language.mapping.mappings import MappingList, Trace, compile_mappings

MOST_RULES: Final = 200
"""How many rules of a list are shown, and how many somebody may try at once."""
MOST_CONDITIONS: Final = 50
MOST_STEPS: Final = 500_000
"""How many steps a text may take that somebody tries; those of an execution may take more."""
MOST_MADE_BYTES: Final = 64 << 20
_VALUE_BYTES: Final = 2 * 1024
_LONGEST_TEXT: Final = 1_000
_DEFAULT: Final = "default"


class Data(NamedTuple):
    """What rules of an instance read."""

    context: JsonObject
    input: JsonObject
    output: JsonObject


class Applied(NamedTuple):
    """A mapping list that was applied again: what it shows, and what it made."""

    rules: list[JsonValue]
    context: JsonObject
    input: JsonObject


def budget_of(state: ExecutionState) -> TotalBudget:
    """Return the budget of one turn of an execution."""
    return TotalBudget(state.turn_max_steps, state.turn_max_bytes, state.language)


def trial_budget(state: ExecutionState) -> TotalBudget:
    """Return the budget of a text that somebody tries on the data of an execution."""
    steps = min(state.turn_max_steps or MOST_STEPS, MOST_STEPS)
    made_bytes = min(state.turn_max_bytes or MOST_MADE_BYTES, MOST_MADE_BYTES)
    return TotalBudget(steps, made_bytes, state.language)


def data_of(state: ExecutionState, name: str) -> Data:
    """Return the data that the rules of an instance, or of the top level, read in a state."""
    task = state.tasks.get(name)
    if task is None:
        return Data(state.context, {}, {})
    context = state.groups[task.route].context if task.route else state.context
    return Data(context, task.invoke.input or {}, task.invoke.output or {})


def apply_again(  # noqa: PLR0913, PLR0917 - what an application consists of
    plan: Plan,
    state: ExecutionState,
    name: str,
    mappings: MappingList,
    data: Data,
    budget: TotalBudget | None = None,
    sizes: Sizes | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Applied:
    """Apply a mapping list to data, and tell what each of its first rules did.

    Args:
        plan: The definition.
        state: The execution.
        name: The instance whose rules they are, or empty.
        mappings: The rules.
        data: What they read.
        budget: What they may take; by default that of one turn.
        sizes: What counts how long values are.
        is_over: Whether the time for the question is over; asked whenever a value is shown.

    Raises:
        RequestError: The rules together exceed the budget or the time.
    """
    copied = partial(_copied, sizes=sizes or Sizes(), is_over=is_over)
    route = state.tasks[name].route if name in state.tasks else ""
    try:
        traces, mapped = mappings.trace(
            context=data.context,
            input=data.input,
            output=data.output,
            shown=copied,
            most=MOST_RULES,
            trigger_url=partial(trigger_address, Turn(plan, state, 0), route),
            language=state.language,
            budget=budget or budget_of(state),
        )
    except WorkLimitError as error:
        raise RequestError(str(error)) from error
    shown: list[JsonValue] = [_trace(mappings.name, each) for each in traces]
    context, made = mapped.context, mapped.input
    return Applied(
        shown,
        context if isinstance(context, dict) else {},
        made if isinstance(made, dict) else {},
    )


def _copied(value: JsonValue, *, sizes: Sizes, is_over: Callable[[], bool]) -> JsonValue:
    if is_over():
        raise RequestError("the rules take too long to try", hint="try fewer, or on fewer values")
    copied: JsonValue = decode_json(encode_json(cut(value, _VALUE_BYTES, sizes=sizes)))
    return copied


def _trace(field: str, trace: Trace) -> JsonObject:
    is_secret = names_secret(trace.text.rpartition("->")[2])
    told = trace.told
    reason = warnings_of(field, [told])[0].reason if told else trace.error or None
    return {
        "number": trace.number,
        "rule": trace.text[:_LONGEST_TEXT],
        "value": MASK if is_secret and trace.value is not None else redacted(trace.value),
        "has_value": trace.value is not None,
        "kind": "failed" if trace.error else told.kind.value if told else None,
        **_why(reason),
    }


def _why(reason: str | None) -> JsonObject:
    """Return a reason as a sentence, and as codes with values; None where there is none."""
    if not reason:
        return {"reason": None, "reasons": []}
    return {"reason": reason[:_LONGEST_TEXT], "reasons": reasons_in(reason[:_LONGEST_TEXT])}


def conditions_of(
    plan: TaskPlan, state: ExecutionState, data: Data, sizes: Sizes | None = None
) -> list[JsonValue]:
    """Return the conditions of a task, each with why it is true or false for its data.

    ``sizes`` counts how long values are.

    Raises:
        RequestError: They together exceed the budget of one turn.
    """
    budget, sizes = budget_of(state), sizes or Sizes()
    try:
        return [
            condition_view(
                explain(text, {root: _root(data, root)}, budget), text, sizes, field, effect
            )
            for field, text, effect, root in _conditions(plan)
        ]
    except WorkLimitError as error:
        raise RequestError(str(error)) from error


def _root(data: Data, root: str) -> JsonValue:
    return data.output if root == "output" else data.input


def _conditions(plan: TaskPlan) -> list[tuple[str, str, str | None, str]]:
    """Return field, text, what follows, and the part of the data that each condition reads."""
    spec = plan.spec
    found = _of_branches(plan)
    if isinstance(spec, SwitchTask):
        found = _of_switch(spec)
    elif isinstance(spec, FunctionTask):
        found = _of_function(spec)
    elif isinstance(spec, SuspenseTask):
        both = (
            _each("conditions", spec.conditions),
            _each("interruptions", spec.interruptions),
        )
        found = chain.from_iterable(both)
    elif isinstance(spec, ReturnTask):
        found = _each("conditions", spec.conditions)
    elif isinstance(spec, ForeachTask) and spec.synchronization is not None:
        found = _each("synchronization.conditions", spec.synchronization.conditions)
    return list(islice(found, MOST_CONDITIONS))


def _of_branches(plan: TaskPlan) -> Iterator[tuple[str, str, str | None, str]]:
    for at, text in enumerate(plan.conditions):
        if text is not None:
            yield f"choices[{at}].condition", text, None, "input"


def _of_switch(spec: SwitchTask) -> Iterator[tuple[str, str, str | None, str]]:
    for at, entry in enumerate(spec.switches or ()):
        if entry.condition is not None and entry.condition != _DEFAULT:
            yield f"switches[{at}].condition", entry.condition, entry.next, "input"


def _of_function(spec: FunctionTask) -> Iterator[tuple[str, str, str | None, str]]:
    yield from _each("successConditions", spec.success_conditions, "output")
    yield from _each("failConditions", spec.fail_conditions, "output")
    if spec.retry is not None:
        yield from _each("retry.conditions", spec.retry.conditions, "output")


def _each(
    field: str, conditions: Sequence[str] | None, root: str = "input"
) -> Iterator[tuple[str, str, str | None, str]]:
    for at, text in enumerate(conditions or ()):
        yield f"{field}[{at}]", text, None, root


def condition_view(
    found: Explanation, text: str, sizes: Sizes, field: str = "", effect: str | None = None
) -> JsonObject:
    """Return an explained condition, its values cut and masked."""
    is_secret = names_secret(text) and found.value is not None
    value = cut(found.value, _VALUE_BYTES, sizes=sizes)
    return {
        "field": field,
        "condition": text[:_LONGEST_TEXT],
        "next": effect,
        "is_true": found.is_true,
        **_why(found.reason),
        "value": MASK if is_secret else redacted(value),
        "parts": [_part(text, part, sizes) for part in found.parts],
        "more_items": found.more_items,
    }


def _part(condition: str, part: Part, sizes: Sizes) -> JsonObject:
    # A path within a filter begins at what stands before the filter, whose names count too.
    is_secret = part.value is not None and names_secret(condition.partition("[?")[0] + part.path)
    value = cut(part.value, _VALUE_BYTES, sizes=sizes)
    return {
        "part": part.text[:_LONGEST_TEXT],
        "item": part.item,
        "is_true": part.is_true,
        "path": part.path[:_LONGEST_TEXT],
        "value": MASK if is_secret else redacted(value),
        "has_value": part.has_value,
        **_why(part.reason),
    }


def evaluate(  # noqa: PLR0913 - what a question consists of
    plan: Plan,
    state: ExecutionState,
    *,
    name: str,
    kind: str,
    text: str,
    rules: Sequence[MappingRule] = (),
    is_over: Callable[[], bool] = lambda: False,
    shown: Callable[[JsonValue], JsonValue] = lambda value: value,
) -> JsonObject:
    """Evaluate a path, an expression, a condition or mapping rules on the data of a state.

    Context, input and output are those of an instance, or of the top level for the empty name.
    ``shown`` returns what a rule may know of each.

    Raises:
        RequestError: There are too many rules, or the evaluation exceeds its budget or its time.
    """
    if len(rules) > MOST_RULES:
        raise RequestError(f"the text has {len(rules)} rules; up to {MOST_RULES} can be tried")
    given = data_of(state, name)
    masked = given._replace(input=_masked(given.input))
    data = Data(*(_object(shown(each)) for each in masked))
    document: JsonObject = {"context": data.context, "input": data.input, "output": data.output}
    answer: JsonObject = {"kind": kind, "seq": state.seq, "task": name}
    budget, sizes = trial_budget(state), Sizes()
    try:
        if kind == "mappings":
            mappings = compile_mappings(rules)
            applied = apply_again(plan, state, name, mappings, data, budget, sizes, is_over)
            return {
                **answer,
                "rules": applied.rules,
                "input": cut(applied.input, sizes=sizes),
                "context": cut(applied.context, sizes=sizes),
            }
        if kind == "condition":
            found = explain(text, document, budget)
            return {**answer, "condition": condition_view(found, text, sizes)}
        return {**answer, **_value(kind, text, document, state, budget)}
    except WorkLimitError as error:
        raise RequestError(str(error)) from error


def _value(
    kind: str, text: str, document: JsonObject, state: ExecutionState, budget: TotalBudget
) -> JsonObject:
    try:
        if kind == "expression":
            budget.spend(len(text))
            expression = compile_expression(text)
            names = {"source": document["context"], **document}
            value = expression.evaluate(names, seed=0, language=state.language, total=budget)
            return {"value": cut(value), "error": None, **_why(None)}
        path = compile_path(text, budget)
        value = path.find(document, budget)
        reason = why_no_value(path, document).reason if value is None else None
        return {"value": cut(value), "error": None, **_why(reason)}
    except LanguageError as error:
        return {"value": None, "error": str(error)[:_LONGEST_TEXT], **_why(None)}


def _masked(values: JsonObject) -> JsonObject:
    return _object(redacted(values))


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}
