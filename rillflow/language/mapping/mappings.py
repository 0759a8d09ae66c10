"""Mappings: lists of copy rules between context, input and output (spec 2.1 to 2.7).

Rules run in order on one document, and later rules see what earlier ones wrote. A null is never
written. A rule that fails is skipped, unless its tolerance is false. A source that is not a path,
or cannot be read in this document, is null, which is not a failure. The given values are never
changed: a list writes into copies.

Used by `core`, `runtime/definitions` and `serve/routes`.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from rillflow.errors import LanguageError, MappingError
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.mapping.dropped_targets import DroppedTarget, RuleTexts, dropped_targets
from rillflow.language.mapping.ineffective_rules import (
    OPTIONAL,
    IneffectiveRule,
    Kind,
    NoValue,
    loggable_error,
)
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.mapping.sources import (
    NO_TARGET,
    Fetch,
    MappingDocument,
    Reads,
    TriggerUrl,
    WhyNoValue,
    compile_source,
    failing,
    is_blank,
)
from rillflow.language.mapping.targets import Draft, compile_target
from rillflow.language.mapping.write_checks import AfterWrite, write_checks
from rillflow.language.versions import CURRENT

_ROOTS: Final = ("context", "input", "output")
_CONTAINERS: Final = (dict, list)
_FEW: Final = 16  # rules that cost no more than their task
# Reading an enumeration member takes longer than reading a module constant.
_BAD_PATH: Final = Kind.BAD_PATH
_TRANSFORM_FAILED: Final = Kind.TRANSFORM_FAILED
_NOT_WRITTEN: Final = Kind.NOT_WRITTEN


class Rule(RuleTexts, Protocol):
    """One copy rule, as the definition's ``MappingRule``; tolerance None is tolerant."""

    @property
    def tolerance(self) -> bool | None:
        """Whether a failure of the rule is skipped."""


class Mapped(msgspec.Struct, frozen=True):
    """The result of a mapping list.

    Attributes:
        context: The context after all writes; the same object if there were none.
        input: The input after all writes.
        output: The output after all writes.
        passed_over: Rules that failed or gave nothing, and writes that are not kept.
        stopped: Whether a strict application stopped at the last of these.
    """

    context: JsonValue
    input: JsonValue
    output: JsonValue
    passed_over: tuple[IneffectiveRule, ...] = ()
    stopped: bool = False


class Trace(NamedTuple):
    """What one rule of a list did.

    Attributes:
        number: Position of the rule in its list, from 1.
        text: Source and target as they are written.
        value: What was to be written; None if there was nothing.
        told: Why the rule had no effect; None if it had one.
        error: The failure that ended the list; empty if it did not.
    """

    number: int
    text: str
    value: JsonValue
    told: IneffectiveRule | None
    error: str = ""


_Change: TypeAlias = Callable[[MappingDocument, JsonValue], JsonValue]
_Write: TypeAlias = Callable[[Draft, JsonValue], bool]


class _Step(msgspec.Struct, frozen=True):
    """One compiled rule.

    Attributes:
        number: Position of the rule in its list, from 1.
        text: Source and target as they are written.
        tolerance: The rule's own tolerance; None if it has none.
        fetch: Returns the value of the source.
        why_no_value: Returns why the source is null.
        change: The transform, if there is one.
        reads: As of the source, with what the transform reads.
        write: Writes the value.
        levels: How much deeper a list or map may be nested at the target.
        after: Returns why a write has no effect, if that may happen.
        no_place: What is reported if there was no place to write to.
    """

    number: int
    text: str
    tolerance: bool | None
    fetch: Fetch
    why_no_value: WhyNoValue
    change: _Change | None
    reads: Reads
    write: _Write
    levels: int
    after: AfterWrite | None
    no_place: IneffectiveRule


class MappingList:
    """A compiled list of rules; it keeps no state between applications.

    Attributes:
        name: The field of the definition that contains the rules.
        is_optional: Whether the tolerance of each rule is true.
    """

    __slots__ = ("_is_long", "_steps", "is_optional", "name")

    def __init__(self, steps: Iterable[_Step], name: str = "") -> None:
        self._steps = tuple(steps)
        self._is_long = len(self._steps) > _FEW
        self.name = name
        self.is_optional = all(step.tolerance is True for step in self._steps)

    def effective(self, passed_over: Iterable[IneffectiveRule]) -> tuple[int, ...]:
        """Return the numbers of the rules that had an effect."""
        idle = {told.number for told in passed_over}
        return tuple(step.number for step in self._steps if step.number not in idle)

    def apply(  # noqa: PLR0913 - the roots of a mapping, and what it may use
        self,
        *,
        context: JsonValue,
        input: JsonValue,  # noqa: A002 - the language's own word
        output: JsonValue,
        trigger_url: TriggerUrl | None = None,
        seed: int = 0,
        strict: bool = False,
        excused: Collection[int] = (),
        language: int = CURRENT,
        budget: TotalBudget | None = None,
    ) -> Mapped:
        """Apply the rules in order.

        Args:
            context: What ``$.context`` means; never changed.
            input: What ``$.input`` means; never changed.
            output: What ``$.output`` means; never changed.
            trigger_url: Gives the URL that triggers a task; without it, such sources are null.
            seed: Decides the random numbers of transforms; the same seed, the same result.
            strict: Whether to stop at the first rule without effect, unless its
                tolerance is true.
            excused: Numbers of rules that need have no effect and are not reported.
            language: The version of the language whose rules hold (see ``versions``).
            budget: What all rules may take, together with what else is done on it.

        Raises:
            MappingError: A rule with ``tolerance: false`` failed.
            WorkLimitError: Nothing is left of the budget.
        """
        if self._is_long and budget is not None:
            budget.spend(len(self._steps))
        roots = {"context": context, "input": input, "output": output}
        draft = MappingDocument(roots, budget, trigger_url, seed, language)
        passed_over: list[IneffectiveRule] | None = None
        stopped = False
        for step in self._steps:
            told = _apply(step, draft)
            if told is not None and step.number not in excused:
                # Rules that work, nearly all of them, make no list.
                passed_over = passed_over or []
                passed_over.append(told)
                if strict and step.tolerance is not True:
                    stopped = True
                    break
        if not draft.replaced and passed_over is None:
            made = draft.document
            return Mapped(made["context"], made["input"], made["output"])
        return _mapped(draft, passed_over or (), stopped=stopped)

    def trace(  # noqa: PLR0913 - as of ``apply``
        self,
        *,
        context: JsonValue,
        input: JsonValue,  # noqa: A002 - the language's own word
        output: JsonValue,
        shown: Callable[[JsonValue], JsonValue],
        most: int,
        trigger_url: TriggerUrl | None = None,
        seed: int = 0,
        language: int = CURRENT,
        budget: TotalBudget | None = None,
    ) -> tuple[list[Trace], Mapped]:
        """Apply the rules as ``apply`` does, and tell of the first ``most`` what each did.

        ``shown`` copies a value, since later rules may write into it. A failure that ends the list
        is told, where its rule is one of these, and not raised.

        Raises:
            WorkLimitError: Nothing is left of the budget.
        """
        roots = {"context": context, "input": input, "output": output}
        draft = MappingDocument(roots, budget, trigger_url, seed, language)
        traces: list[Trace] = []
        for step in self._steps[:most]:
            written: list[JsonValue] = []
            watched = msgspec.structs.replace(step, write=_watched(step.write, written, shown))
            try:
                told, error = _apply(watched, draft), ""
            except MappingError as failure:
                told, error = None, str(failure)
            value = written[-1] if written else None
            traces.append(Trace(step.number, step.text, value, told, error))
            if error:
                return traces, _mapped(draft, (), stopped=False)
        for step in self._steps[most:]:
            try:
                _apply(step, draft)
            except MappingError:
                break
        return traces, _mapped(draft, (), stopped=False)


def _watched(
    write: _Write, written: list[JsonValue], shown: Callable[[JsonValue], JsonValue]
) -> _Write:
    def watched(draft: Draft, value: JsonValue) -> bool:
        written.append(shown(value))
        return write(draft, value)

    return watched


def compile_mappings(rules: Iterable[Rule], name: str = "") -> MappingList:
    """Compile a mapping list; ``name`` is its field.

    Invalid paths and expressions, missing targets and the like are no errors here: their rules
    fail, or write nothing, when they are applied.
    """
    listed = tuple(rules)
    dropped = dropped_targets(listed, name)
    steps = [
        _compile_rule(number, rule, dropped.get(number - 1), name)
        for number, rule in enumerate(listed, start=1)
    ]
    return MappingList(steps, name)


def _mapped(
    draft: MappingDocument, passed_over: Iterable[IneffectiveRule], *, stopped: bool
) -> Mapped:
    last = draft.lasting
    return Mapped(last("context"), last("input"), last("output"), tuple(passed_over), stopped)


def _apply(step: _Step, draft: MappingDocument) -> IneffectiveRule | None:
    """Apply a rule; return a report if it had no effect, or its source could not be read.

    Raises:
        MappingError: It failed, and its tolerance is false.
    """
    kind, found = _BAD_PATH, None
    try:
        value = found = step.fetch(draft)
        unread, draft.unread = draft.unread, None
        if step.change is not None:
            kind = _TRANSFORM_FAILED
            value = step.change(draft, found)
        if value is None:
            return _gave_nothing(step, draft, found, unread)
        kind = _NOT_WRITTEN
        if type(value) in _CONTAINERS:
            draft.receive(step.levels, step.reads)
        if step.write(draft, value):
            if unread is not None:
                return _unread_source(step, unread)
            return None if step.after is None else step.after(draft)
    except LanguageError as error:
        if step.tolerance is False:
            raise MappingError(str(error)) from error
        return _failed(step, draft, kind, error, found)
    return step.no_place


def _failed(
    step: _Step, draft: MappingDocument, kind: Kind, error: LanguageError, found: JsonValue
) -> IneffectiveRule:
    """Return why a rule failed and, for a transform, why its source was missing."""
    reason, missing_key = str(error), None
    if kind is _TRANSFORM_FAILED and found is None:
        no_value = step.why_no_value(draft)
        if no_value.kind is not Kind.NO_SOURCE:
            reason, missing_key = (
                f"{reason}; of its source: {no_value.reason}",
                no_value.missing_key,
            )
    return IneffectiveRule(step.number, step.text, kind, reason, loggable_error(error), missing_key)


def _unread_source(step: _Step, error: LanguageError | NoValue) -> IneffectiveRule | None:
    """Return why a source was read as null, or why all elements of its list were."""
    if isinstance(error, NoValue):
        if step.tolerance is True:
            return None
        return IneffectiveRule(
            step.number, step.text, error.kind, error.reason, missing_key=error.missing_key
        )
    return IneffectiveRule(step.number, step.text, Kind.BAD_PATH, str(error), loggable_error(error))


def _gave_nothing(
    step: _Step, draft: MappingDocument, found: JsonValue, unread: LanguageError | NoValue | None
) -> IneffectiveRule | None:
    """Return why a rule gave nil, unless that is allowed; ``found`` is the source's value."""
    if unread is not None:
        return _unread_source(step, unread)
    if step.tolerance is True and step.change is not None:
        return None
    no_value = step.why_no_value(draft)
    if step.tolerance is True and no_value.kind in OPTIONAL:
        return None
    if step.change is None:
        return IneffectiveRule(
            step.number, step.text, no_value.kind, no_value.reason, missing_key=no_value.missing_key
        )
    reason, missing_key = "the transform gave nil", None
    if found is None and no_value.kind is not Kind.NO_SOURCE:
        reason, missing_key = f"{reason}; of its source: {no_value.reason}", no_value.missing_key
    return IneffectiveRule(
        step.number, step.text, Kind.TRANSFORM_NIL, reason, missing_key=missing_key
    )


def _compile_rule(number: int, rule: Rule, dropped: DroppedTarget | None, field: str) -> _Step:
    text = f"{_shown_source(rule)} -> {'(no target)' if is_blank(rule.target) else rule.target}"
    checks = write_checks(rule, number, text, dropped, field)
    if is_blank(rule.target):
        fetch, reads, why = NO_TARGET
        write: _Write = _write_nothing
        return _Step(number, text, rule.tolerance, fetch, why, None, reads, write, 0, *checks)
    (fetch, reads, why), change = compile_source(rule.source or ""), None
    if rule.transform is not None and not is_blank(rule.transform):
        change, reads = _compile_transform(rule.transform, number), _ROOTS
    write, levels = _compile_target(rule.target or "")
    return _Step(number, text, rule.tolerance, fetch, why, change, reads, write, levels, *checks)


def _shown_source(rule: Rule) -> str:
    source = rule.source or ""
    if not is_blank(rule.transform):
        return f"{source} (transform)" if is_path(source) else "(transform)"
    if is_blank(source):
        return "(no source)"
    return source if is_path(source) else "(literal)"


def _compile_target(text: str) -> tuple[_Write, int]:
    """Return the writer, and how much deeper a list or map is nested at the target."""
    try:
        target = compile_target(text)
    except LanguageError as error:
        return failing(error), 0
    return target.write, target.levels + 1  # a source may be a list of results


def _compile_transform(text: str, number: int) -> _Change:
    try:
        expression = compile_expression(text)
    except LanguageError as error:
        return failing(error)

    def transform(draft: MappingDocument, source: JsonValue) -> JsonValue:
        document = draft.document
        names = {name: document[name] for name in _ROOTS}
        # Rules of one list draw different random numbers.
        return expression.evaluate(
            {"source": source, **names},
            seed=draft.seed + number,
            language=draft.language,
            total=draft.budget,
        )

    return transform


def _write_nothing(draft: Draft, value: JsonValue) -> bool:
    del draft, value
    return False
