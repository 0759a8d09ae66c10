"""The form in which contexts are stored, and the limits of their size and depth (spec 3.14).

Used by `core`, `gateways/kafka/client.py` and `runtime`.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias, cast

from rillflow.errors import ExecutionError, WorkLimitError
from rillflow.jsontypes import MAX_DEPTH, JsonObject, JsonValue
from rillflow.language.budget import TotalBudget

RESERVED_PREFIX: Final = "__"
VALUE_TYPE_IS_NOT_MAP: Final = 30505
CONTENT_TOO_LONG: Final = 30507
_BYTES_PER_STEP: Final = 32  # of JSON, per step of the budget
FREE_BYTES: Final = 256
"""One save may change this much without being charged."""
_WORD_BITS: Final = 64
_SQUARED_BITS_PER_BYTE: Final = 5_000  # 14,000 bits take as long as 40 KB of text
_CONTAINERS: Final = (dict, list)  # a union type would be built anew for each value
_WALKED: Final = frozenset(_CONTAINERS)
_MAPS: Final = frozenset((dict,))
_LISTS: Final = frozenset((list,))
_NULL: Final = type(None)
_LONGEST_WORD: Final = 2**_WORD_BITS - 1
_WIDE: Final = 32  # entries of a map whose copy is charged
_SHORT_ESCAPES: Final = b"\b\t\n\f\r"  # two bytes each
_LONG_ESCAPES: Final = bytes(each for each in range(32) if each not in _SHORT_ESCAPES)  # six
_SAVES_OF_A_CONTEXT: Final = 2
_VALUE_BYTES: Final = 8  # of each value, beside what a text or a long number takes

_Container: TypeAlias = JsonObject | list[JsonValue]


class _Level(NamedTuple):
    """Lists and maps that are nested equally deep, each as often as it occurs."""

    containers: Sequence[_Container]
    maps: Sequence[JsonObject]
    has_nulls: bool


def stored_context(
    context: JsonObject,
    before: Mapping[str, JsonValue],
    max_bytes: int,
    budget: TotalBudget | None = None,
) -> JsonObject:
    """Return a context in the form in which it is stored: no nulls in maps, no reserved keys.

    Values that are the same object as in ``before`` were cleaned earlier; all others together may
    take ``max_bytes``.

    Raises:
        ExecutionError: A reserved key holds something that is no map (30505), or more
            changed than may be saved at once, or it is nested too deeply (30507).
        WorkLimitError: Nothing is left of the budget, which what changed is charged to.
    """
    if len(before) > _WIDE and budget is not None:
        budget.copy(before)
    changed = context
    if before:  # nearly all entries, also of a large context, are the same object
        known = before.get
        changed = {key: it for key, it in context.items() if it is None or it is not known(key)}
    kept: JsonObject = dict(before)
    if not changed:
        return kept
    cleaner = Cleaner(max_bytes, budget, around=1)
    try:
        cleaner.keep(changed, kept)
    finally:
        if cleaner.left < max_bytes - FREE_BYTES:
            cleaner.charge()
    return kept


def bounded_size(
    context: JsonObject, estimate_bytes: int, max_bytes: int, budget: TotalBudget
) -> int:
    """Return an estimate of the size of a whole context, which is no less than its size.

    A context that has grown step by step may have twice what one save may change. It is measured
    when the ``estimate_bytes``, to which each save adds what it changed, exceed that. Executions
    of older releases have no such limit.

    Raises:
        ExecutionError: The context is larger (30507).
        WorkLimitError: Nothing is left of the budget, which the measuring is charged to.
    """
    most_bytes = _SAVES_OF_A_CONTEXT * max_bytes
    if estimate_bytes <= most_bytes or not budget.counts_bytes:
        return estimate_bytes
    keys = TotalBudget(None, most_bytes)
    cleaner = Cleaner(most_bytes, keys, around=1)
    try:
        cleaner.clean(context)
        cleaner.charge()
    except (ExecutionError, WorkLimitError):
        raise ExecutionError(
            f"content length: the context would have more than {most_bytes} bytes as a whole",
            CONTENT_TOO_LONG,
        ) from None
    finally:
        budget.spend((most_bytes - max(cleaner.left, 0)) // _BYTES_PER_STEP)
    return keys.made_bytes


class Cleaner:
    """Removes null entries of maps at every level, within limits of size and depth.

    Nulls in lists are kept. All lists and maps of one level of nesting are looked at together, most
    of it by functions of the interpreter: there may be 300,000 of them, and a call of our own for
    each would take too long. So the stack, too, never decides the result.

    Values share structure, so a value that is small in memory may be huge as text: every occurrence
    counts. With a total budget, keys of maps are counted during the walk, and ``charge`` counts the
    rest.

    Attributes:
        left: What is left of the budget.
    """

    __slots__ = ("_budget", "_nesting", "_text_size", "_total", "left")

    def __init__(
        self, budget_bytes: int, total: TotalBudget | None = None, *, around: int = 0
    ) -> None:
        """Begin; ``around`` is how many maps will enclose the cleaned value."""
        self._budget = self.left = budget_bytes
        self._total = total
        self._nesting = (MAX_DEPTH if total is None else total.max_nesting) - around
        self._text_size = json_bytes if total is None or total.counts_bytes else len

    def charge(self) -> None:
        """Charge the total budget with the size of everything that was cleaned.

        The part beyond the limit was not walked, and is not charged.

        Raises:
            WorkLimitError: Nothing is left of the total budget.
        """
        size = min(self._budget - self.left, self._budget)
        if self._total is not None:
            self._total.spend(size // _BYTES_PER_STEP)
            self._total.make(size)

    def clean(self, value: JsonValue) -> JsonValue:
        """Return the value without nulls in maps; the same object when there are none.

        Raises:
            ExecutionError: It is larger than the budget, or nested too deeply (30507).
            WorkLimitError: Nothing is left of the total.
        """
        if isinstance(value, _CONTAINERS):
            return self._clean_all((value,)).get(id(value), value)
        self._take(8 + self._text_size(value) if isinstance(value, str) else _size_of(value))
        return value

    def keep(self, changed: JsonObject, kept: JsonObject) -> None:  # noqa: C901 - a call for each value would be slow
        """Put what changed of a context, without nulls and reserved keys, to what is kept.

        Raises:
            ExecutionError: A reserved key holds something that is no map (30505), or it is all
                larger than the budget, or nested too deeply (30507).
            WorkLimitError: Nothing is left of the total.
        """
        size, room = 0, self.left
        special: list[str] = []
        walked: dict[str, _Container] = {}
        is_reserved_kept = True
        for key, value in changed.items():
            if key[:2] == RESERVED_PREFIX:
                if not isinstance(value, dict):
                    is_reserved_kept = False
                    break
                continue
            if isinstance(value, _CONTAINERS):
                kept[key] = value  # in this place, whatever becomes of it
                walked[key] = value
                continue
            if isinstance(value, str):
                size += 8 + len(value)
                if not (value.isascii() and value.isprintable()):
                    special.append(value)
            elif isinstance(value, int):
                is_short = -_LONGEST_WORD <= value <= _LONGEST_WORD
                size += 8 if is_short else _size_of(value)
            elif value is not None or kept.get(key) is not None:
                size += 8
            if size > room:
                break
            if value is not None:
                kept[key] = value
        self._take(size)
        self._take_special(special)
        if walked and (fresh := self._clean_all(tuple(walked.values()))):
            kept.update({key: fresh.get(id(it), it) for key, it in walked.items()})
        if not is_reserved_kept:
            raise ExecutionError("value type is not map", VALUE_TYPE_IS_NOT_MAP)

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ExecutionError(
                f"content length: more than {self._budget} exceed the limit", CONTENT_TOO_LONG
            )

    def _too_deep(self) -> ExecutionError:
        most = MAX_DEPTH if self._total is None else self._total.max_nesting
        return ExecutionError(
            f"content depth: lists and maps in more than {most} levels exceed the limit",
            CONTENT_TOO_LONG,
        )

    def _clean_all(self, containers: Sequence[_Container]) -> dict[int, _Container]:
        """Take the size of containers; return those without their nulls, by the ``id`` of each.

        What has no nulls in maps is not among them.
        """
        total = self._total
        if total is not None and total.is_empty:
            raise total.out_of_memory()  # before a walk that would end with the same
        if len(containers) == 1 and self._takes_flat(containers[0]):
            return {}
        self._take(_VALUE_BYTES * len(containers))
        levels: list[_Level] = []
        while containers:
            if len(levels) >= self._nesting:
                raise self._too_deep()
            level, containers = self._next_level(containers)
            levels.append(level)
        return _without_nulls(levels) if any(level.has_nulls for level in levels) else {}

    def _takes_flat(self, container: _Container) -> bool:  # noqa: C901 - a call for each value would be slow
        """Take the size of a small map of short values at once, which items of a foreach often are.

        Anything else, and what does not fit, is left to the walk, and nothing of it is taken.
        """
        if not isinstance(container, dict) or len(container) >= _WIDE or self._nesting < 1:
            return False
        size = _VALUE_BYTES * (len(container) + 1)
        for item in container.values():
            if isinstance(item, str):
                if not (item.isascii() and item.isprintable()):
                    return False
                size += len(item)
            elif isinstance(item, int):
                if not -_LONGEST_WORD <= item <= _LONGEST_WORD:
                    return False
            elif not isinstance(item, float):
                return False
        total, keys = self._total, sum(map(len, container))
        if size > self.left or (total is not None and keys >= total.memory_bytes):
            return False
        self.left -= size
        if total is not None:
            total.make(keys)
        return True

    def _next_level(self, containers: Sequence[_Container]) -> tuple[_Level, list[_Container]]:
        """Take the size of what is in containers, and return the containers among it."""
        of_level = set(map(type, containers))
        maps: Sequence[JsonObject] = ()
        if of_level == _MAPS:
            maps = cast("Sequence[JsonObject]", containers)
        elif of_level != _LISTS:
            maps = [it for it in containers if isinstance(it, dict)]
        number = sum(map(len, containers))
        if number + len(containers) <= _WIDE:
            return self._next_few(containers, maps)
        if number * _VALUE_BYTES <= self.left:
            self._charge(maps)
        elif (number - self._nulls_of(maps)) * _VALUE_BYTES > self.left:
            self._take(number * _VALUE_BYTES)
        found: list[JsonValue] = list(chain.from_iterable(map(dict.values, maps)))
        if has_nulls := _NULL in set(map(type, found)):
            found = [it for it in found if it is not None]
        if len(maps) < len(containers):
            lists = [it for it in containers if isinstance(it, list)] if maps else containers
            found += chain.from_iterable(lists)
        kinds = set(map(type, found))
        self._take(_VALUE_BYTES * len(found))
        self._take_scalars(found, kinds)
        inner = found if kinds <= _WALKED else [it for it in found if isinstance(it, _CONTAINERS)]
        return _Level(containers, maps, has_nulls), cast("list[_Container]", inner)

    def _take_scalars(self, values: list[JsonValue], kinds: set[type]) -> None:
        """Take what the texts and long numbers of a wide list need beyond their places."""
        if str in kinds:
            some = values if len(kinds) == 1 else [it for it in values if it.__class__ is str]
            texts = cast("list[str]", some)
            self._take(sum(map(len, texts)))
            self._take_special(texts)
        if int in kinds:
            found = values if len(kinds) == 1 else [it for it in values if it.__class__ is int]
            numbers = cast("list[int]", found)
            if max(numbers) > _LONGEST_WORD or min(numbers) < -_LONGEST_WORD:
                self._take(sum(_size_of(it) - 8 for it in numbers))

    def _take_special(self, texts: list[str]) -> None:
        """Take what texts, whose characters were counted, need beyond a byte for each."""
        if self._text_size is not len and texts:
            joined = "".join(texts)
            self._take(json_bytes(joined) - len(joined))

    def _next_few(
        self, containers: Sequence[_Container], maps: Sequence[JsonObject]
    ) -> tuple[_Level, list[_Container]]:
        """Do the same for few values, which takes a third of the time then."""
        if self._total is not None:
            for each in maps:
                self._total.make(sum(map(len, each)))
        size, nulls, text_size = 0, 0, self._text_size
        inner: list[_Container] = []
        for it in containers:
            is_map = isinstance(it, dict)
            for item in it.values() if isinstance(it, dict) else it:
                if isinstance(item, str):
                    size += 8 + text_size(item)
                elif isinstance(item, _CONTAINERS):
                    size += 8
                    inner.append(item)
                elif item is None and is_map:
                    nulls += 1
                else:
                    size += 8 if item.__class__ is not int else _size_of(item)
        self._take(size)
        return _Level(containers, maps, bool(nulls)), inner

    def _charge(self, maps: Sequence[JsonObject]) -> None:
        """Charge the total for entries and keys of maps."""
        if self._total is not None and maps:
            if self._total.charges_entries:
                self._total.spend(sum([len(it) >> 2 for it in maps if len(it) > _WIDE]))
            self._total.make(sum(map(len, chain.from_iterable(maps))))

    def _nulls_of(self, maps: Sequence[JsonObject]) -> int:
        """Charge maps that may be too large, one by one, and count their nulls."""
        nulls = 0
        for it in maps:
            self._charge((it,))
            nulls += sum([value is None for value in it.values()])
        return nulls


def _without_nulls(levels: Sequence[_Level]) -> dict[int, _Container]:
    """Return the lists and maps of the first level that change, by the ``id`` of what they were."""
    below: dict[int, _Container] = {}
    for level in reversed(levels):
        fresh: dict[int, _Container] = {}
        if level.has_nulls:
            maps = [it for it in level.maps if None in it.values()]
            kept: list[_Container] = [
                {key: item for key, item in it.items() if item is not None} for it in maps
            ]
            fresh = dict(zip(map(id, maps), kept, strict=True))
        if below:
            known = below.get
            for each in level.containers:
                values = each.values() if isinstance(each, dict) else each
                if below.keys().isdisjoint(map(id, values)):
                    continue
                if isinstance(each, list):
                    fresh[id(each)] = [known(id(it), it) for it in each]
                else:
                    entries = cast("JsonObject", fresh.get(id(each), each))
                    fresh[id(each)] = {key: known(id(it), it) for key, it in entries.items()}
        below = fresh
    return below


def json_bytes(text: str) -> int:
    """Return about how many bytes a text takes as JSON: a character takes up to six.

    Quotation marks and backslashes count as one byte.
    """
    if text.isascii() and text.isprintable():
        return len(text)
    encoded = text.encode("utf-8", "surrogatepass")
    unescaped = len(encoded.translate(None, _SHORT_ESCAPES))
    long_escapes = unescaped - len(encoded.translate(None, _SHORT_ESCAPES + _LONG_ESCAPES))
    return len(encoded) + (len(encoded) - unescaped) + 5 * long_escapes


def _size_of(value: JsonValue) -> int:
    """Return the size that a number counts for; writing a large one takes quadratic time."""
    bits = value.bit_length() if isinstance(value, int) else 0
    return 8 if bits <= _WORD_BITS else 8 + bits // 3 + bits * bits // _SQUARED_BITS_PER_BYTE
