"""Making, reading and changing lists, maps and sets.

``seq.add``, ``seq.put`` and the like change their argument in place, as in
AviatorScript; values from outside have been copied before a script can do that.

Used by `language/expressions/closures` and `language/expressions/functions`.
"""

from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import (
    Library,
    integer_argument,
    number_argument,
)
from rillflow.language.expressions.texts import key_of
from rillflow.language.expressions.values import (
    ScriptSet,
    Value,
    as_long,
    elements_of,
    equals,
    has_elements,
    shown_integer,
    size_of,
    type_of,
)
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED

SEQUENCE_FUNCTIONS: Final = Library()
_declare: Final = SEQUENCE_FUNCTIONS.function

_BITS_PER_STEP: Final = 256  # of the ends of a range


@_declare("seq.list")
def new_list(meter: Meter, *values: Value) -> list[Value]:
    """Return a list of the arguments."""
    meter.make_collection(len(values))
    return list(values)


@_declare("tuple")
def new_tuple(meter: Meter, *values: Value) -> list[Value]:
    """Return the arguments as a list; JSON has no tuples."""
    return new_list(meter, *values)


@_declare("seq.map")
def new_map(meter: Meter, *values: Value) -> dict[Value, Value]:
    """Return a map of the arguments, which are keys and values in turn."""
    if len(values) % 2:
        raise ExpressionError("seq.map needs a value for every key")
    meter.make_collection(len(values) // 2)
    keys = (key_of(meter, key) for key in values[::2])
    return dict(zip(keys, values[1::2], strict=True))


@_declare("seq.set")
def new_set(meter: Meter, *values: Value) -> ScriptSet:
    """Return a set of the arguments."""
    meter.make_collection(len(values))
    made = ScriptSet()
    for value in values:
        made.add(meter, value)
    return made


@_declare("seq.entry")
def new_entry(meter: Meter, key: Value, value: Value) -> dict[str, Value]:
    """Return an entry of a map: what a loop over a map gives."""
    meter.make_collection(2)
    return {"key": key, "value": value}


@_declare("range")
def new_range(meter: Meter, start: Value, end: Value, step: Value = 1) -> range:
    """Return the integers from ``start`` to before ``end``; the step may be negative."""
    first, last, by = (integer_argument(value, "range") for value in (start, end, step))
    meter.cost((first.bit_length() + last.bit_length() + by.bit_length()) // _BITS_PER_STEP)
    if by == 0:
        raise ExpressionError("range needs a step other than 0")
    return range(first, last, by)


@_declare("seq.get")
def element(meter: Meter, values: Value, key: Value) -> Value:
    """Return the element at an index, or the value of a key or nil.

    Raises:
        ExpressionError: The index is outside the list, or this has no elements.
    """
    if isinstance(values, dict):
        return values.get(key_of(meter, key, len(values)))
    if not isinstance(values, list | range | str):
        raise ExpressionError(f"a {type_of(values)} has no elements to read")
    index = _index(meter, key)
    if not 0 <= index < size_of(values, "an index"):
        size = shown_integer(size_of(values, "an index"))
        raise ExpressionError(
            f"index {shown_integer(index)} is outside a {type_of(values)} of {size}"
        )
    return values[index]


def store(meter: Meter, values: Value, key: Value, value: Value) -> Value:
    """Set the element at an index, or the value of a key; return the one before.

    Raises:
        ExpressionError: The index is outside the list, or this has no elements.
    """
    if isinstance(values, dict):
        name = key_of(meter, key, len(values))
        before = values.get(name)
        if name not in values:
            _grow(meter, values)
        values[name] = value
        return before
    if not isinstance(values, list):
        raise ExpressionError(f"a {type_of(values)} has no elements to set")
    before = element(meter, values, key)
    values[_index(meter, key)] = value
    return before


@_declare("seq.put")
def put(meter: Meter, values: Value, key: Value, value: Value) -> Value:
    """Set an element of a list or map; return the one before."""
    return store(meter, values, key, value)


@_declare("seq.add")
def add(meter: Meter, values: Value, first: Value, *second: Value) -> Value:
    """Append to a list or set, or put a key and a value into a map; return it."""
    if isinstance(values, dict) and len(second) == 1:
        store(meter, values, first, second[0])
    elif isinstance(values, list | ScriptSet) and not second:
        _append(meter, values, first)
    else:
        raise ExpressionError(f"seq.add cannot add {1 + len(second)} values to a {type_of(values)}")
    return values


@_declare("seq.add_all")
def add_all(meter: Meter, values: Value, others: Value) -> Value:
    """Append all elements of the second to the first; return it."""
    return into(meter, values, others)


@_declare("into")
def into(meter: Meter, values: Value, others: Value) -> Value:
    """Append all elements of the second to the first; entries go into a map."""
    for other in _snapshot(meter, others, "into"):
        if isinstance(values, dict):
            store(meter, values, *_entry(other))
        else:
            add(meter, values, other)
    return values


@_declare("seq.remove")
def remove(meter: Meter, values: Value, unwanted: Value) -> Value:
    """Remove a key from a map, or the first equal element; return what is changed."""
    if isinstance(values, dict):
        values.pop(key_of(meter, unwanted, len(values)), None)
    elif isinstance(values, ScriptSet):
        values.remove(meter, unwanted)
    elif isinstance(values, list):
        index = _place(meter, values, unwanted)
        if index >= 0:
            meter.work(1 + len(values) // 64)
            del values[index]
    else:
        raise ExpressionError(f"seq.remove cannot remove from a {type_of(values)}")
    return values


@_declare("seq.contains_key")
def contains_key(meter: Meter, values: Value, key: Value) -> bool:
    """Tell whether a map has the key, or a list the index."""
    if isinstance(values, dict):
        return key_of(meter, key, len(values)) in values
    if values is None and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return False
    size = size_of(values, "seq.contains_key")
    return 0 <= _index(meter, key) < size


@_declare("seq.keys")
def keys(meter: Meter, values: Value) -> list[Value] | None:
    """Return the keys of a map, and nil for nil."""
    if values is None and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return None
    return _listed(meter, _map(values, "seq.keys").keys())


@_declare("seq.vals")
def vals(meter: Meter, values: Value) -> list[Value] | None:
    """Return the values of a map, and nil for nil."""
    if values is None and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return None
    return _listed(meter, _map(values, "seq.vals").values())


@_declare("zipmap")
def zip_map(meter: Meter, names: Value, values: Value) -> dict[Value, Value]:
    """Return a map of two lists of keys and values; the longer one's rest is left out."""
    pairs = zip(_snapshot(meter, names, "zipmap"), _snapshot(meter, values, "zipmap"), strict=False)
    made: dict[Value, Value] = {}
    for key, value in pairs:
        made[key_of(meter, key, len(made))] = value
    meter.make_collection(len(made))
    return made


@_declare("count")
def count(_meter: Meter, values: Value) -> int:
    """Return the number of elements; 0 for nil."""
    return size_of(values, "count")


@_declare("is_empty")
def is_empty(_meter: Meter, values: Value) -> bool:
    """Tell whether there are no elements."""
    return size_of(values, "is_empty") == 0


@_declare("include")
def include(meter: Meter, values: Value, wanted: Value) -> bool:
    """Tell whether an element equals the value; false for values without elements."""
    if isinstance(values, ScriptSet):
        return values.has(meter, wanted)
    if not has_elements(values) and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return False
    return _place(meter, values, wanted) >= 0


@_declare("concat")
def concat(meter: Meter, first: Value, second: Value) -> list[Value] | None:
    """Return a list of the elements of both; nil only if both are nil."""
    if first is None and second is None:
        return None
    return [*_snapshot(meter, first, "concat"), *_snapshot(meter, second, "concat")]


@_declare("reverse")
def reverse(meter: Meter, values: Value) -> list[Value] | None:
    """Put the elements of a list last first, and return it; nil for nil.

    Of other sequences, which AviatorScript refuses, return a list.
    """
    if meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        if values is None:
            return None
        if isinstance(values, list):
            meter.work(2 + len(values))
            values.reverse()
            return values
    return _snapshot(meter, values, "reverse")[::-1]


@_declare("repeat")
def repeat(meter: Meter, number: Value, value: Value) -> list[Value]:
    """Return a list that holds the value a number of times."""
    times = max(0, integer_argument(number, "repeat"))
    meter.make_collection(times)
    return [value] * times


@_declare("distinct")
def distinct(meter: Meter, values: Value) -> list[Value] | None:
    """Return a list without the elements that are equal to an earlier one."""
    if values is None:
        return None
    seen = ScriptSet()
    for value in _snapshot(meter, values, "distinct"):
        seen.add(meter, value)
    return list(seen)


def _index(meter: Meter, key: Value) -> int:
    """Return a number as an index; of a double, the whole part is used, as in Java."""
    if isinstance(key, float) and meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
        return as_long(number_argument(key, "an index"))
    return integer_argument(key, "an index")


def _snapshot(meter: Meter, values: Value, what: str) -> list[Value]:
    """Return a charged copy of the elements as a list."""
    meter.make_collection(size_of(values, what))
    return list(elements_of(meter, values, what))


def _listed(meter: Meter, values: "Value") -> list[Value]:
    meter.make_collection(len(values))
    return list(values)


def _map(values: Value, what: str) -> dict[Value, Value]:
    if isinstance(values, dict):
        return values
    raise ExpressionError(f"{what} needs a map and not a {type_of(values)}")


def _entry(value: Value) -> tuple[Value, Value]:
    if isinstance(value, dict) and value.keys() == {"key", "value"}:
        return value["key"], value["value"]
    raise ExpressionError("only entries with a key and a value go into a map")


def _append(meter: Meter, values: "list[Value] | ScriptSet", value: Value) -> None:
    _grow(meter, values)
    if isinstance(values, list):
        values.append(value)
    else:
        values.add(meter, value)


def _grow(meter: Meter, values: Value) -> None:
    meter.check_size(len(values) + 1)
    meter.make_elements(1)


def _place(meter: Meter, values: Value, wanted: Value) -> int:
    """Return the index of the first element equal to the value, or -1."""
    for index, value in enumerate(elements_of(meter, values, "include")):
        meter.work(1)
        if equals(meter, value, wanted):
            return index
    return -1
