"""The search for executions: its words, its parameters, and the places of its pages.

Used by `serve/routes/console_api`.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from rillflow.core.inspection.statuses import UNFINISHED, Status
from rillflow.definition.checks.search_keys import LONGEST_VALUE, is_key_name
from rillflow.errors import RequestError
from rillflow.ids import is_execution_id, is_name, submitted_at_ms
from rillflow.jsontypes import JsonObject
from rillflow.ports.storage.execution_search import Place, Wanted
from rillflow.ports.storage.store import LATEST_MS
from rillflow.suggestions import closest

ANY_UNFINISHED: Final = "unfinished"
STORED: Final[Mapping[str, tuple[str, ...]]] = {
    ANY_UNFINISHED: ("not_started", "running", "key_succeed"),
    Status.SUCCEEDED: ("succeed",),
    Status.FAILED: ("failed",),
}
"""The statuses that the store knows, by the words for them."""
_OWNERS: Final = frozenset({*UNFINISHED, Status.CANCELLED})
"""Statuses that only the owners of executions know."""
STATUSES: Final = (*STORED, *sorted(_OWNERS))
LONGEST_SEARCH: Final = 4_096
_MOST_WORDS: Final = 50
_WORD: Final = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))+')
"""A word; between quotation marks it may have spaces."""
_CONTEXT: Final = "context."
MOST_KEYS: Final = 4
_AGE: Final = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_AGE_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_VERSION: Final = re.compile(r"(?:md5_)?([0-9a-f]{32})")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_CURSOR: Final = "it is the next of an earlier page"
_NO_FLOW: Final = "x:x_c_"
_AROUND_MS: Final = 60_000
"""A sub-flow is stored some time after the moment that its id tells."""


class SearchWord(NamedTuple):
    """A word of a search without the name of a field, and its place, from 1."""

    text: str
    number: int


class Search(NamedTuple):
    """A search as it was understood.

    ``statuses`` are the words given, none for all. ``asks_owners`` are those of them that the store
    does not know. ``uuid`` is the end of the id that is looked for, if its flow is not known.
    ``bare_flow`` is the word that was taken for a flow; whether there is such a workspace decides
    whether it was one.
    """

    wanted: Wanted
    statuses: tuple[str, ...]
    asks_owners: frozenset[str]
    uuid: str | None
    shown: JsonObject
    bare_flow: SearchWord | None = None


def read_search(given: Mapping[str, str | None], now_ms: int) -> Search:
    """Read a search from its parameters, of which ``q`` has words with the names of the others.

    Raises:
        RequestError: A word or a value is malformed (30109).
    """
    fields = {name: text.strip() for name, text in given.items() if text and text.strip()}
    keys: dict[str, str] = {}
    bare_flow = _add_words(fields, keys, fields.pop("q", ""))
    statuses = _statuses(fields.pop("status", ""))
    business, feature = flow_of(fields.get("flow"))
    execution_id, uuid = _id(fields.get("id"))
    parent = fields.get("parent")
    if parent is not None and not is_execution_id(parent):
        raise _malformed("parent", parent, "it is the id of an execution")
    since_ms = _time(fields.get("since"), "since", now_ms)
    until_ms = _time(fields.get("until"), "until", now_ms)
    version = version_of(fields.get("version"))
    from_ms, to_ms = since_ms, until_ms
    if uuid is not None:
        at_ms = submitted_at_ms(_NO_FLOW + uuid)
        from_ms = max(from_ms or 0, at_ms - _AROUND_MS)
        to_ms = min(LATEST_MS if to_ms is None else to_ms, at_ms + _AROUND_MS)
    wanted = Wanted(
        execution_id=execution_id,
        parent_id=parent,
        business=business,
        feature=feature,
        statuses=_stored(statuses),
        definition_id=version,
        from_ms=from_ms,
        to_ms=to_ms,
        keys=tuple(keys.items()),
    )
    shown: JsonObject = {
        "status": list(statuses),
        "flow": fields.get("flow"),
        "since_ms": since_ms,
        "until_ms": until_ms,
        "id": fields.get("id"),
        "parent": parent,
        "version": version,
        "context": dict(keys),
    }
    return Search(wanted, statuses, _OWNERS & set(statuses), uuid, shown, bare_flow)


def no_such_flow(word: SearchWord, workspaces: Iterable[str]) -> RequestError:
    """Return the error for a word that is neither a flow nor one with the name of a field.

    ``workspaces`` are those that whoever searches may know of.
    """
    name, colon, value = word.text.partition(":")
    near = closest(name, workspaces)
    meant = f"{near}{colon}{value}" if near else f"context.{name}:{value}" if colon else ""
    told = f"there is no field `{name}`" if colon else f"there is no workspace `{name}`"
    return RequestError(
        f"{told[:200]}: word {word.number} of the search",
        hint=f"the fields are {', '.join(_KEYS)}, and context.NAME"
        + (f"; did you mean `{meant[:200]}`?" if meant else ""),
    )


def shown_status(stored: str) -> str:
    """Return the word for a status of the store."""
    return next((word for word, names in STORED.items() if stored in names), ANY_UNFINISHED)


def by_word(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by the words for statuses of the store, each of which is there."""
    found = dict.fromkeys(map(str, STORED), 0)
    for stored, number in counts.items():
        found[shown_status(stored)] += number
    return found


def cursor_of(place: Place) -> str:
    """Return a place as text that a client returns unread."""
    text = f"{place.submitted_at_ms}.{place.key}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> Place | None:
    """Read the place that a cursor stands for; None for the first page.

    Raises:
        RequestError: It is no cursor (30109).
    """
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        at_ms, key = text.split(".")
    except ValueError as error:
        raise _malformed("cursor", cursor, _NO_CURSOR) from error
    if not all(number.isdecimal() and len(number) < 19 for number in (at_ms, key)):
        raise _malformed("cursor", cursor, _NO_CURSOR)
    return Place(int(at_ms), int(key))


def _add_words(fields: dict[str, str], keys: dict[str, str], text: str) -> SearchWord | None:
    """Add the words of a text to fields and search keys; return the one taken for a flow."""
    bare_flow: SearchWord | None = None
    if len(text) > LONGEST_SEARCH:
        raise RequestError(f"a search has up to {LONGEST_SEARCH} characters, not {len(text)}")
    words = _WORD.findall(text)
    if len(words) > _MOST_WORDS:
        raise RequestError(f"a search has up to {_MOST_WORDS} words, not {len(words)}")
    for number, word in enumerate(words, start=1):
        key, value = _key_and_value(word, number)
        if key.startswith(_CONTEXT):
            _add_key(keys, key.removeprefix(_CONTEXT), value, number)
            continue
        if key in fields and fields[key] != value:
            if key != "status":
                raise _malformed(key, word, f"it is given twice; word {number} differs")
            value = f"{fields[key]},{value}"
        fields[key] = value
        if key == "flow" and not word.startswith("flow:"):
            bare_flow = SearchWord(word, number)
    return bare_flow


def _key_and_value(word: str, number: int) -> tuple[str, str]:
    key, colon, value = word.partition(":")
    if not colon or not (key in _KEYS or key.startswith(_CONTEXT)):
        key, value = _bare(word, number)
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = value[1:-1]
    if not value:
        raise _malformed(key[:100], word, f"word {number} of the search has no value")
    return key, value


def _add_key(keys: dict[str, str], name: str, value: str, number: int) -> None:
    _refuse_no_key(name, value, f"word {number} of the search")
    if keys.setdefault(name, value) != value:
        hint = f"an execution has one value of {name}"
        raise RequestError(f"context.{name} is given twice; word {number} differs", hint=hint)
    if len(keys) > MOST_KEYS:
        raise RequestError(f"a search has up to {MOST_KEYS} search keys")


def keys_of(text: str) -> tuple[tuple[str, str], ...]:
    """Read search keys with their values from a JSON object; no text is none.

    Raises:
        RequestError: It is something else (30109).
    """
    if not text.strip():
        return ()
    try:
        keys = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError as error:
        hint = 'it is a JSON object of texts, as in {"user": "bob"}'
        raise RequestError(f"context is malformed: {text[:100]}", hint=hint) from error
    if len(keys) > MOST_KEYS:
        raise RequestError(f"a search has up to {MOST_KEYS} search keys, not {len(keys)}")
    for name, value in keys.items():
        _refuse_no_key(name, value, "context")
    return tuple(keys.items())


def _refuse_no_key(name: str, value: str, place: str) -> None:
    if not is_key_name(name):
        hint = "definitions declare search keys (searchKeys): context.user:bob, context.order.id:7"
        raise RequestError(f"{place} has no search key: {name[:100]}", hint=hint)
    if len(value) > LONGEST_VALUE or not value.isprintable():
        reason = f"a value has up to {LONGEST_VALUE} characters, which can be printed"
        raise RequestError(f"{place} has no value of a search key: {value[:100]!r}", hint=reason)


def _bare(word: str, number: int) -> tuple[str, str]:
    """Return the key that a word without one means: an id, or a flow."""
    if is_execution_id(word) or _UUID.fullmatch(word):
        return "id", word
    key, *others = word.split(":")
    meant = closest(key, _KEYS)
    if meant is None and len(others) <= 1 and all(map(is_name, (key, *others))):
        return "flow", word
    hint = f"; is {meant}: meant" if meant else ""
    raise RequestError(
        f"word {number} of the search is not understood: {word[:100]}",
        hint=f"the keys are {', '.join(_KEYS)}, and context.NAME{hint}",
    )


_KEYS: Final = ("status", "flow", "since", "until", "id", "parent", "version")


def _statuses(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    for name in names:
        if name not in STATUSES:
            raise _malformed("status", name, f"it is one of {', '.join(STATUSES)}")
    return names


def _stored(statuses: tuple[str, ...]) -> tuple[str, ...] | None:
    if not statuses:
        return None
    found: dict[str, None] = {}
    for word in statuses:
        stored = STORED.get(word)
        if stored is None:
            stored = STORED[Status.FAILED if word == Status.CANCELLED else ANY_UNFINISHED]
        found.update(dict.fromkeys(stored))
    return tuple(found)


def flow_of(text: str | None) -> tuple[str | None, str | None]:
    """Read a business, or a business and a feature.

    Raises:
        RequestError: It is neither (30109).
    """
    if text is None:
        return None, None
    business, colon, feature = text.partition(":")
    if not is_name(business) or (colon and not is_name(feature)):
        raise _malformed("flow", text, "it is business, or business:feature")
    return business, feature or None


def _id(text: str | None) -> tuple[str | None, str | None]:
    if text is None or is_execution_id(text):
        return text, None
    uuid = text.lower()
    if _UUID.fullmatch(uuid) is None or not is_execution_id(_NO_FLOW + uuid):
        raise _malformed("id", text, "it is an execution id, or the UUID at its end")
    return None, uuid


def version_of(text: str | None) -> str | None:
    """Read the md5 of a version, with or without the prefix of a descriptor id.

    Raises:
        RequestError: It is something else (30109).
    """
    if text is None:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        raise _malformed("version", text, "it has 32 hexadecimal digits")
    return match[1]


def _time(text: str | None, name: str, now_ms: int) -> int | None:
    if text is None:
        return None
    age = _AGE.fullmatch(text)
    if age is not None:
        return max(now_ms - int(age[1]) * _AGE_MS[age[2]], 0)
    readers: tuple[Callable[[str], int], ...] = (_milliseconds, _iso)
    for read in readers:
        try:
            at_ms = read(text)
        except (ValueError, OverflowError):
            continue
        if 0 <= at_ms <= LATEST_MS:
            return at_ms
    hint = "it is an age as in 30m, 1h or 7d, or ISO 8601, or milliseconds since the epoch"
    raise _malformed(name, text, hint)


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 9 <= len(text) <= 15):
        raise ValueError(text)
    return int(text)


def _iso(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _malformed(name: str, text: str, hint: str) -> RequestError:
    return RequestError(f"{name} is malformed: {text[:100]}", hint=f"{name}: {hint}")
