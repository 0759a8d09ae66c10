"""The form in which contexts are stored, and the limits of their size and depth (spec 3.14)."""

from collections.abc import Mapping
from typing import Final, cast

from rillflow.errors import ExecutionError
from rillflow.jsontypes import MAX_DEPTH, JsonObject, JsonValue
from rillflow.language.budget import TotalBudget

RESERVED_PREFIX: Final = "__"
VALUE_TYPE_IS_NOT_MAP: Final = 30505
CONTENT_TOO_LONG: Final = 30507
_BYTES_PER_STEP: Final = 32  # of JSON, per step of the budget
_FREE_BYTES: Final = 256  # one save may change this much without being charged
_WORD_BITS: Final = 64
_SQUARED_BITS_PER_BYTE: Final = 5_000  # 14,000 bits take as long as 40 KB of text
_CONTAINERS: Final = (dict, list)  # a union type would be built anew for each value
_WALKED: Final = frozenset(_CONTAINERS)
_LONGEST_WORD: Final = 2**_WORD_BITS - 1
_WIDE: Final = 32  # entries of a map whose copy is charged


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
        if cleaner.left < max_bytes - _FREE_BYTES:
            cleaner.charge()
    return kept


def _is_reserved(key: str, value: JsonValue) -> bool:
    if not key.startswith(RESERVED_PREFIX):
        return False
    if not isinstance(value, dict):
        raise ExecutionError("value type is not map", VALUE_TYPE_IS_NOT_MAP)
    return True


class Cleaner:
    """Removes null entries of maps at every level, within limits of size and depth.

    Nulls in lists are kept. One level takes one frame of the interpreter's stack; the depth limit
    is lower than that stack, so that the stack never decides the result.

    Values share structure, so a value that is small in memory may be huge as text: every occurrence
    counts. With a total budget, keys of maps are counted during the walk, and ``charge`` counts the
    rest.

    Attributes:
        left: What is left of the budget.
    """

    __slots__ = ("_budget", "_nesting", "_total", "left")

    def __init__(
        self, budget_bytes: int, total: TotalBudget | None = None, *, around: int = 0
    ) -> None:
        """Begin; ``around`` is how many maps will enclose the cleaned value."""
        self._budget = self.left = budget_bytes
        self._total = total
        self._nesting = (MAX_DEPTH if total is None else total.max_nesting) - around

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
        total = self._total
        if isinstance(value, _CONTAINERS) and total is not None and total.is_empty:
            raise total.out_of_memory()  # before a walk that would end with the same
        if isinstance(value, dict):
            return self._clean_map(value, self._nesting)
        if isinstance(value, list):
            return self._clean_list(value, self._nesting)
        self._take(8 + len(value) if isinstance(value, str) else _size_of(value))
        return value

    def keep(self, changed: JsonObject, kept: JsonObject) -> None:  # noqa: C901 - as said below
        """Put what changed of a context, without nulls and reserved keys, to what is kept.

        Raises:
            ExecutionError: A reserved key holds something that is no map (30505), or it is all
                larger than the budget, or nested too deeply (30507).
            WorkLimitError: Nothing is left of the total.
        """
        size, room = 0, self.left
        for key, value in changed.items():
            if (is_named_apart := key[:2] == RESERVED_PREFIX) or isinstance(value, _CONTAINERS):
                if size:
                    self._take(size)
                    size = 0
                if not (is_named_apart and _is_reserved(key, value)):
                    kept[key] = self.clean(value)
                room = self.left
                continue
            if isinstance(value, str):
                size += 8 + len(value)
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

    # One loop for each container, without a call for scalars: there may be 100,000 values.

    def _clean_map(self, value: JsonObject, nesting: int) -> JsonObject:  # noqa: C901 - as said
        if not nesting:
            raise self._too_deep()
        if self._total is not None:
            if self._total.charges_entries and len(value) > _WIDE:
                self._total.spend(len(value) >> 2)
            self._total.make(sum(map(len, value)))
        size = 8
        changed: JsonObject | None = None
        for key, item in value.items():
            if isinstance(item, _CONTAINERS):
                inner = self._clean_map if isinstance(item, dict) else self._clean_list
                clean = inner(item, nesting - 1)  # type: ignore[arg-type]
                if clean is not item:
                    changed = changed or dict(value)
                    changed[key] = clean
            elif isinstance(item, str):
                size += 8 + len(item)
            elif item is None:
                changed = changed or dict(value)
            else:
                size += 8 if item.__class__ is not int else _size_of(item)
        self._take(size)
        if changed is None:
            return value
        return {key: item for key, item in changed.items() if item is not None}

    def _clean_list(self, value: list[JsonValue], nesting: int) -> list[JsonValue]:
        if not nesting:
            raise self._too_deep()
        self._take(8 + 8 * len(value))
        if len(value) > _WIDE and _WALKED.isdisjoint(kinds := set(map(type, value))):
            self._take(_size_of_scalars(value, kinds))
            return value
        size = 0
        changed: list[JsonValue] | None = None
        for index, item in enumerate(value):
            if isinstance(item, _CONTAINERS):
                self.left += 8  # The parent counts this value too.
                inner = self._clean_map if isinstance(item, dict) else self._clean_list
                clean = inner(item, nesting - 1)  # type: ignore[arg-type]
                if clean is not item:
                    changed = changed or list(value)
                    changed[index] = clean
            elif isinstance(item, str):
                size += len(item)
            elif item.__class__ is int:
                size += _size_of(item) - 8
        self._take(size)
        return value if changed is None else changed


def _size_of_scalars(values: list[JsonValue], kinds: set[type]) -> int:
    """Return what the texts and long numbers of a wide list take beyond their places."""
    size = 0
    if str in kinds:
        texts = values if len(kinds) == 1 else [it for it in values if it.__class__ is str]
        size += sum(map(len, cast("list[str]", texts)))
    if int in kinds:
        found = values if len(kinds) == 1 else [it for it in values if it.__class__ is int]
        numbers = cast("list[int]", found)
        if max(numbers) > _LONGEST_WORD or min(numbers) < -_LONGEST_WORD:
            size += sum(_size_of(it) - 8 for it in numbers)
    return size


def _size_of(value: JsonValue) -> int:
    """Return the size that a number counts for; writing a large one takes quadratic time."""
    bits = value.bit_length() if isinstance(value, int) else 0
    return 8 if bits <= _WORD_BITS else 8 + bits // 3 + bits * bits // _SQUARED_BITS_PER_BYTE
