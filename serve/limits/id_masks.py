"""The ids of executions that a caller who is limited to workspaces must not know, hidden in texts.

Who knows the id of an execution may call back for its tasks. Views of an execution have the ids of
others where there are sub-flows: of what has started it, of what it has started, and in data which
an author has passed on. So each id is replaced whose workspace the caller does not see.

What is hidden by its form must have that form: a text that is cut has no part of an id at its begin
(``core/inspection/cutting.py``), and one at its end is hidden as well. Rules that such a caller
tries are given data without these ids, or they could write them in another form.

Used by `serve/middleware` and `serve/routes`.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from rillflow.ids_of_others import ALPHANUMERIC, HIDDEN, LONGEST_NAMES, MARK, hide_ids
from rillflow.jsontypes import JsonObject, JsonValue
from serve.limits.callers import caller_of

_LONGEST: Final = LONGEST_NAMES + len(HIDDEN)
_OF_ID: Final = ALPHANUMERIC + b":%_-\\"


class ValueMask:
    """Hides ids in the data that a caller's rules are given; the data stay as they are."""

    def __init__(self, sees: Callable[[str], bool]) -> None:
        """``sees`` tells of the name of a workspace whether its ids are shown."""
        self._mask = IdMask(sees)
        self._known: dict[int, JsonValue] = {}
        """What became of containers, by identity: many places may share one."""

    def of(self, value: JsonValue) -> JsonValue:
        """Return a value without hidden ids, the same one if it has none."""
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = self._container(value)
        return self._known[id(value)]

    def _container(self, value: JsonObject | list[JsonValue]) -> JsonValue:
        if isinstance(value, list):
            items = list(map(self.of, value))
            is_same = all(new is old for new, old in zip(items, value, strict=True))
            return value if is_same else items
        entries = {self._text(key): self.of(entry) for key, entry in value.items()}
        is_same = entries.keys() == value.keys() and all(
            entries[key] is value[key] for key in value
        )
        return value if is_same else entries

    def _text(self, text: str) -> str:
        if "_c_" not in text:
            return text
        given = text.encode()
        shown = self._mask.part(given, has_more=False)
        return text if shown == given else shown.decode()


def hidden_for(scope: Scope, text: bytes) -> bytes:
    """Return JSON text that a route reads for its caller, without the ids that are hidden."""
    caller = caller_of(scope)
    return IdMask(caller.sees).part(text, has_more=False) if caller.workspaces else text


class IdMask:
    """Hides ids in a text that comes in parts."""

    def __init__(self, sees: Callable[[str], bool]) -> None:
        """``sees`` tells of the name of a workspace whether its ids are shown."""
        self._sees = sees
        self._held = b""

    def part(self, part: bytes, *, has_more: bool) -> bytes:
        """Return the next part, without an end with which an id may begin if there is more."""
        if not self._held and not has_more and MARK not in part:
            return part
        text = self._held + part
        self._held = b""
        if has_more:
            end = text[-_LONGEST:]
            cut = len(text) - len(end) + len(end.rstrip(_OF_ID))
            text, self._held = text[:cut], text[cut:]
        return hide_ids(text, self._sees)
