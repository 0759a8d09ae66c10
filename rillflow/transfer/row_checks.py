"""Checks the rows of a file that are read for every caller, or for whole workspaces.

These are names, versions and rules of the catalogue, task templates, deaths of owners and API keys.
One that no server would store could keep others from being listed, or from being added.

Used by `transfer/moved_rows.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rillflow.errors import StoreError
from rillflow.ids import is_execution_id, is_name
from rillflow.ports.storage.access import KEY_ID_DIGITS, ROLES, ApiKey, decode_key
from rillflow.ports.storage.templates import (
    MOST_NAME_CHARACTERS,
    MOST_TEMPLATE_BYTES,
    TEMPLATE_CATEGORIES,
    TEMPLATE_TEXTS,
    TEMPLATE_TYPES,
)
from rillflow.stores.transfer.rows import LARGEST_COUNTED
from rillflow.stores.transfer.tables import API_KEYS, TABLES, TEMPLATES, VERSIONS
from rillflow.triggers.schedule import NEVER_MS

Row = Mapping[str, Any]

_VERSION: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARACTERS: Final = 40
_LONGEST_STEP: Final = 4_096
"""Characters of what an owner was handling; what is noted is shorter."""
_GRAY: Final = "gray"
_RULES: Final = (_GRAY, "ab")


def refuse_wrong_row(table: str, values: Sequence[Any]) -> None:
    """Refuse a row that no server would store, if its table is one of these.

    Raises:
        StoreError: It is one; the message names the row and what is wrong.
    """
    find = _WRONG.get(table)
    if find is None:
        return
    row = dict(zip(TABLES[table].names, values, strict=True))
    wrong = find(row)
    if wrong:
        key = ":".join(_shown(each) for each in values[: TABLES[table].key])
        raise StoreError(
            f"the row {key} of the table {table} is none that a server stores: {wrong}"
        )


def _wrong_name(row: Row) -> str:
    names = row["business"], row["feature"], row["alias"]
    given = [each for each in names if each]
    if not given or tuple(given) != names[: len(given)]:
        return "a name above another one is missing"
    return _wrong_names(*given)


def _wrong_version(row: Row) -> str:
    if _VERSION.fullmatch(row["version"]) is None:
        return f"{_shown(row['version'])!r} is no version"
    names = [row[name] for name in ("business", "feature", "alias") if name in row]
    return _wrong_names(*names) or _wrong_times(row, "created_at_ms")


def _wrong_rule(row: Row) -> str:
    if row["kind"] not in _RULES:
        return f"there are no rules of the kind {_shown(row['kind'])!r}"
    if not row["name"] or not row["rule"]:
        return "its name or its text is empty"
    names = (row["name"],) if row["kind"] == _GRAY else ()
    return _wrong_names(row["business"], row["subject"], *names)


def _wrong_template(row: Row) -> str:
    if not 0 < row["id"] <= LARGEST_COUNTED:
        return f"{row['id']} is no id"
    if not 0 < len(row["name"]) <= MOST_NAME_CHARACTERS:
        return f"its name has {len(row['name'])} characters"
    if row["type"] not in TEMPLATE_TYPES or row["enable"] not in (0, 1):
        return f"its type is {row['type']}, and enable {row['enable']}"
    if row["category"] not in TEMPLATE_CATEGORIES:
        return f"there is no category {_shown(row['category'])!r}"
    size = sum(len(row[name].encode()) for name in TEMPLATE_TEXTS)
    if size > MOST_TEMPLATE_BYTES:
        return f"its texts have {size:,} bytes"
    return _wrong_times(row, "created_at_ms", "updated_at_ms")


def _wrong_death(row: Row) -> str:
    if not is_execution_id(row["execution_id"]):
        return "it names no execution"
    if not row["life"].isalnum() or max(map(len, (row["life"], row["step"]))) > _LONGEST_STEP:
        return "it tells no process and step"
    return _wrong_times(row, "at_ms")


def _wrong_key(row: Row) -> str:
    try:
        key = decode_key(row["key"])
    except (msgspec.MsgspecError, UnicodeError) as error:
        return str(error)
    if key.name != row["name"] or key.role not in ROLES:
        return f"it is of {_shown(key.name)!r} with the role {_shown(key.role)!r}"
    if _DIGEST.fullmatch(key.digest) is None or key.key_id != key.digest[:KEY_ID_DIGITS]:
        return "its hash is none, or its id is not of it"
    limits = msgspec.structs.astuple(key.quota)
    if any(limit is not None and not 0 < limit <= LARGEST_COUNTED for limit in limits):
        return "one of its limits is none"
    return _wrong_names(*key.workspaces) or _wrong_times_of(key)


def _wrong_times_of(key: ApiKey) -> str:
    times = {"created_at_ms": key.created_at_ms}
    times |= {"expires_at_ms": key.expires_at_ms or 0, "revoked_at_ms": key.revoked_at_ms or 0}
    return _wrong_times(times, *times)


def _wrong_names(*names: str) -> str:
    wrong = next((each for each in names if not is_name(each)), None)
    return "" if wrong is None else f"{_shown(wrong)!r} is no name"


def _wrong_times(row: Row, *names: str) -> str:
    wrong = [name for name in names if not 0 <= row.get(name, 0) <= NEVER_MS]
    return f"{wrong[0]} is {row[wrong[0]]}" if wrong else ""


def _shown(value: object) -> str:
    return str(value)[:_SHOWN_CHARACTERS]


_WRONG: Final[Mapping[str, Callable[[Row], str]]] = {
    "names": _wrong_name,
    "known_versions": _wrong_version,
    VERSIONS: _wrong_version,
    "rules": _wrong_rule,
    TEMPLATES: _wrong_template,
    "deaths": _wrong_death,
    API_KEYS: _wrong_key,
}
