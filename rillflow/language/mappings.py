"""Mappings: lists of copy rules between context, input and output (SEMANTICS 2.1 to 2.7).

Rules run in order on one document, and later rules see what earlier ones wrote. A null
is never written. A rule that fails is passed over, unless its tolerance is false. The
values handed in are never changed: what a list writes, it writes into copies.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, NoReturn, Protocol, TypeAlias

from rillflow.errors import ExpressionSyntaxError, LanguageError, MappingError, PathSyntaxError
from rillflow.jsontypes import JsonValue
from rillflow.language.expressions import compile_expression
from rillflow.language.literals import parse_literal
from rillflow.language.path_syntax import Function, Names, Token
from rillflow.language.paths import compile_path
from rillflow.language.secret_references import is_path
from rillflow.language.targets import Draft, compile_target

TriggerUrl: TypeAlias = Callable[[str], str]

_ROOTS: Final = ("context", "input", "output")
_TASKS: Final = "$.tasks."
_CONTAINERS: Final = (dict, list)


class Rule(Protocol):
    """One copy rule, as the definition's ``MappingRule``; tolerance None is tolerant."""

    @property
    def source(self) -> str | None:
        """Where the value comes from: a path, a trigger URL or a literal."""

    @property
    def transform(self) -> str | None:
        """An expression that replaces the value."""

    @property
    def target(self) -> str | None:
        """Where the value goes."""

    @property
    def tolerance(self) -> bool | None:
        """Whether a failure of the rule is passed over."""


class PassedOver(NamedTuple):
    """A rule of a mapping list that failed, or whose writing does not last.

    Texts are the definition's, without any value: ``rule`` says what goes where, with
    ``(literal)`` for a source that is one; ``reason`` is the kind of error, or what is
    wrong with the definition.
    """

    rule: str
    reason: str


class Mapped(NamedTuple):
    """What a mapping list made.

    Attributes:
        context: The context after all writes; the same object when there were none.
        input: The input after all writes.
        output: The output after all writes.
        warnings: What the author may want to know: rules that failed and were passed
            over, and writes that do not last. They may name values.
        passed_over: The same without values.
    """

    context: JsonValue
    input: JsonValue
    output: JsonValue
    warnings: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


class _Scene(NamedTuple):
    """What the sources of one application of a mapping list may look at."""

    draft: Draft
    trigger_url: TriggerUrl | None
    seed: int


_Fetch: TypeAlias = Callable[[_Scene], JsonValue]
_Write: TypeAlias = Callable[[Draft, JsonValue], None]
_Reads: TypeAlias = tuple[str, ...] | None


class _Step(NamedTuple):
    """One compiled rule.

    Attributes:
        number: Position of the rule in its list, from 1.
        fetch: Gets the value.
        write: Writes it.
        reads: The entries of the document that the value may share structure with; None
            when it may be any, or the document itself.
        tolerant: Whether a failure is passed over.
        text: What goes where, as it is written.
    """

    number: int
    fetch: _Fetch
    write: _Write
    reads: _Reads
    tolerant: bool
    text: str


class MappingList:
    """A compiled list of rules; it keeps no state between applications."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Iterable[_Step]) -> None:
        self._steps = tuple(steps)

    def apply(
        self,
        *,
        context: JsonValue,
        input: JsonValue,  # noqa: A002 - the language's own word
        output: JsonValue,
        trigger_url: TriggerUrl | None = None,
        seed: int = 0,
    ) -> Mapped:
        """Apply the rules in order.

        Args:
            context: What ``$.context`` means; never changed.
            input: What ``$.input`` means; never changed.
            output: What ``$.output`` means; never changed.
            trigger_url: Gives the URL that triggers a task of this execution by name;
                without it the sources ``$.tasks.<name>.trigger_url`` are null.
            seed: Decides the random numbers of transforms; the same seed, the same result.

        Raises:
            MappingError: A rule with ``tolerance: false`` failed.
        """
        draft = Draft({"context": context, "input": input, "output": output})
        scene = _Scene(draft, trigger_url, seed)
        warnings: list[str] = []
        passed_over: list[PassedOver] = []
        for step in self._steps:
            try:
                _apply(step, scene)
            except LanguageError as error:
                if not step.tolerant:
                    raise MappingError(str(error)) from error
                warnings.append(f"rule {step.number} is passed over: {error}")
                passed_over.append(PassedOver(step.text, _reason(error)))
        if not draft.replaced and not warnings:
            made = draft.document
            return Mapped(made["context"], made["input"], made["output"])
        for name in draft.replaced:
            if name in _ROOTS:
                lost = f"$.{name} as a whole cannot be replaced; what was written there is gone"
                warnings.append(lost)
                passed_over.append(PassedOver(f"-> $.{name}", lost))
        last = draft.lasting
        return Mapped(
            last("context"), last("input"), last("output"), tuple(warnings), tuple(passed_over)
        )


def _reason(error: LanguageError) -> str:
    """Say why a rule failed, without the values that messages of other errors may name."""
    is_of_definition = isinstance(error, PathSyntaxError | ExpressionSyntaxError)
    return str(error) if is_of_definition else type(error).__name__


def compile_mappings(rules: Iterable[Rule]) -> MappingList:
    """Compile a mapping list.

    Rules without a target, and rules without source and transform, are left out. Wrong
    paths and expressions are no errors here: their rules fail when they are applied.
    """
    return MappingList(
        _compile_rule(number, rule)
        for number, rule in enumerate(rules, start=1)
        if not _is_blank(rule.target) and not (_is_blank(rule.source) and _is_blank(rule.transform))
    )


def _is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _apply(step: _Step, scene: _Scene) -> None:
    value = step.fetch(scene)
    if value is None:
        return
    draft, reads = scene.draft, step.reads
    if type(value) in _CONTAINERS and (reads is None or any(map(draft.owns, reads))):
        draft.share()
    step.write(draft, value)


def _compile_rule(number: int, rule: Rule) -> _Step:
    fetch, reads = _compile_source(rule.source or "")
    if rule.transform is not None and not _is_blank(rule.transform):
        fetch, reads = _compile_transform(rule.transform, fetch, number), _ROOTS
    write = _compile_target(rule.target or "")
    text = f"{_shown_source(rule)} -> {rule.target}"
    return _Step(number, fetch, write, reads, rule.tolerance is not False, text)


def _shown_source(rule: Rule) -> str:
    if rule.transform is not None and not _is_blank(rule.transform):
        return "(transform)"
    source = rule.source or ""
    return source if is_path(source) else "(literal)"


def _compile_target(text: str) -> _Write:
    try:
        return compile_target(text).write
    except LanguageError as error:
        return _failing(error)


def _compile_source(source: str) -> tuple[_Fetch, _Reads]:
    """Return what gets the value of a source, and the entries it may share with."""
    if _is_blank(source):
        return _nothing, ()
    if source.startswith(_TASKS) and source.count(".") >= 3:
        return _compile_task_source(source), ()
    try:
        if is_path(source):
            return _compile_path_source(source)
        literal = parse_literal(source)
    except LanguageError as error:
        return _failing(error), ()
    return lambda _scene: literal, ()


def _compile_path_source(source: str) -> tuple[_Fetch, _Reads]:
    path = compile_path(source)
    find = path.find
    return lambda scene: find(scene.draft.document), _entries_read(path.syntax.tokens)


def _entries_read(tokens: tuple[Token, ...]) -> _Reads:
    is_below_entries = tokens and isinstance(tokens[0], Names)
    if not is_below_entries or any(isinstance(token, Function) for token in tokens):
        return None
    first = tokens[0]
    return first.names if isinstance(first, Names) else None


def _compile_task_source(source: str) -> _Fetch:
    """Read ``$.tasks.<name>.trigger_url``; every other attribute of a task is null.

    What stands between the first and the second ``?`` is added to the URL as it is.
    """
    attribute, mark, query = source.partition("?")
    parts = attribute.split(".")
    if len(parts) != 4 or parts[3] != "trigger_url":
        return _nothing
    extra = f"&{query.partition('?')[0]}" if mark else ""

    def fetch(scene: _Scene) -> JsonValue:
        return None if scene.trigger_url is None else scene.trigger_url(parts[2]) + extra

    return fetch


def _compile_transform(text: str, fetch: _Fetch, number: int) -> _Fetch:
    try:
        expression = compile_expression(text)
    except LanguageError as error:
        return _failing(error)

    def transform(scene: _Scene) -> JsonValue:
        document = scene.draft.document
        names = {name: document[name] for name in _ROOTS}
        # Rules of one list draw different random numbers.
        return expression.evaluate({"source": fetch(scene), **names}, seed=scene.seed + number)

    return transform


def _nothing(scene: _Scene) -> JsonValue:
    del scene
    return None


def _failing(error: LanguageError) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise type(error)(*error.args)

    return fail
