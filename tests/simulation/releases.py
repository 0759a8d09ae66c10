"""Releases of a world: which protocol a process has, and which fields it knows of what it is sent.

The release before is today's code behind what that release knows: nothing that it sends, and
nothing that it writes to the journal, has the fields that it does not know, and it reads none of
them. What it knows stands in `tests/unit/wire_schema.json`. The next release sends and writes one
more field of everything, of which today's knows nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from rillflow.core.encoding.codec import APART_FORMAT
from rillflow.core.events import Event
from rillflow.core.state import ExecutionState
from rillflow.errors import DefectError
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.executions import Reply
from rillflow.ports.messages import Calls, DispatcherMessage, GetLoopState, GetMeters, OwnerMessage
from rillflow.ports.storage.store import Append, StoredExecution
from tests.unit.wire_schema import stored

_Rows = TypeVar("_Rows", Append, StoredExecution)

NEW_FIELD: Final = "of_the_next_release"
NEW_VALUE: Final = "new"
_MARK_BYTES: Final = 1
"""A record and a snapshot begin with their format."""

Fields: TypeAlias = Callable[[inspect.StructType], int | None]
"""How many fields of a struct a release knows; None are all that today's has, and one more."""

_MESSAGE: Final = inspect.type_info(OwnerMessage | DispatcherMessage | GetLoopState | GetMeters)
_REPLIES: Final = inspect.type_info(list[Reply])
_EVENT: Final = inspect.type_info(Event)
_STATE: Final = inspect.type_info(ExecutionState)
_SEQUENCES: Final = (inspect.ListType, inspect.VarTupleType, inspect.TupleType)


class Release(NamedTuple):
    """What one release says and knows; without ``fields`` all that today's code does."""

    protocol: int
    fields: Fields | None = None

    def sent(self, message: bytes) -> bytes:
        """Return a message of today's code as a process of this release sends it."""
        return self._packed(message, _MESSAGE)

    def read(self, message: bytes) -> bytes:
        """Return what a process of this release reads of a message."""
        return message if self._is_later else self._packed(message, _MESSAGE)

    def answered(self, kind: str, answer: bytes) -> bytes:
        """Return the answer to a kind of message as a process of this release sends it."""
        return self._packed(answer, _REPLIES) if kind == Calls.__name__ else answer

    def appended(self, append: Append) -> Append:
        """Return an append of today's code as a process of this release writes it."""
        return self._stored(append)

    def loaded(self, execution: StoredExecution) -> StoredExecution:
        """Return what a process of this release reads of an execution in the store."""
        return execution if self._is_later else self._stored(execution)

    def snapshot(self, snapshot: bytes) -> bytes:
        """Return a snapshot as this release writes it."""
        if self.fields is None:
            return snapshot
        mark, text = snapshot[:_MARK_BYTES], msgspec.json.decode(snapshot[_MARK_BYTES:])
        if mark == bytes([APART_FORMAT]):
            text["state"] = _shaped(text["state"], _STATE, self.fields)
        else:
            text = _shaped(text, _STATE, self.fields)
        return mark + msgspec.json.encode(text)

    def known(self, snapshot: bytes) -> bytes:
        """Return what this release and today's agree on of a snapshot.

        The sum of the bytes of outputs is counted with fields that this release does not know: what
        is lost with those is never given back, and the limit is reached a little earlier.
        """
        state = msgspec.json.decode(self.snapshot(snapshot)[_MARK_BYTES:])
        state.pop("outputs_bytes", None)
        return msgspec.json.encode(state)

    @property
    def _is_later(self) -> bool:
        return self.protocol > PROTOCOL

    def _stored(self, rows: _Rows) -> _Rows:
        if self.fields is None:
            return rows
        snapshot = rows.snapshot
        return msgspec.structs.replace(
            rows,
            records=tuple(map(self._record, rows.records)),
            snapshot=None if snapshot is None else self.snapshot(snapshot),
        )

    def _record(self, record: bytes) -> bytes:
        return record[:_MARK_BYTES] + self._packed(record[_MARK_BYTES:], _EVENT)

    def _packed(self, data: bytes, kind: inspect.Type) -> bytes:
        if self.fields is None:
            return data
        return msgspec.msgpack.encode(_shaped(msgspec.msgpack.decode(data), kind, self.fields))


def release_knowing(schema: Mapping[str, Sequence[str]]) -> Release:
    """Return the release before, which knows these fields of each struct, in their order."""

    def known(kind: inspect.StructType) -> int:
        fields = schema.get(f"{kind.cls.__name__} {kind.tag}")
        if fields is None:
            raise DefectError(f"the release before knows no {kind.cls.__name__}")
        return len(fields)

    return Release(PROTOCOL - 1, known)


BEFORE: Final = release_knowing(stored()[1])
NOW: Final = Release(PROTOCOL)
NEXT: Final = Release(PROTOCOL + 1, lambda _: None)
DISTANT: Final = Release(PROTOCOL + 3)
"""Two apart from the next release, and more from the others."""
PAIRS: Final = ((BEFORE, NOW), (NOW, NEXT))


def _shaped(value: Any, kind: inspect.Type, fields: Fields) -> Any:
    """Return a decoded value with the fields that a release knows, and no others."""
    match kind:
        case inspect.UnionType():
            meant = _meant(value, kind)
            return value if meant is None else _shaped(value, meant, fields)
        case inspect.StructType():
            return _shaped_struct(value, kind, fields)
        case inspect.ListType() | inspect.VarTupleType():
            return [_shaped(each, kind.item_type, fields) for each in value]
        case inspect.TupleType():
            kinds = kind.item_types
            return [_shaped(*each, fields) for each in zip(value, kinds, strict=True)]
        case inspect.DictType():
            return {key: _shaped(each, kind.value_type, fields) for key, each in value.items()}
    return value


def _shaped_struct(value: Any, kind: inspect.StructType, fields: Fields) -> Any:
    most = fields(kind)
    known = kind.fields[:most]
    if kind.array_like:
        tags = 0 if kind.tag is None else 1
        # What a later release has added comes after the fields that are known.
        said = zip(value[tags:], known, strict=False)
        shaped = [*value[:tags], *(_shaped(each, its.type, fields) for each, its in said)]
        return [*shaped, NEW_VALUE] if most is None else shaped
    by_name = {
        its.encode_name: _shaped(value[its.encode_name], its.type, fields)
        for its in known
        if its.encode_name in value
    }
    return {**by_name, NEW_FIELD: NEW_VALUE} if most is None else by_name


def _meant(value: Any, kind: inspect.UnionType) -> inspect.Type | None:
    """Return the type of a union that a decoded value has, if it may contain structs."""
    if not isinstance(value, list | dict):
        return None
    for each in kind.types:
        if isinstance(each, inspect.StructType):
            if _fits(value, each):
                return each
        elif isinstance(value, dict):
            if isinstance(each, inspect.DictType):
                return each
        elif isinstance(each, _SEQUENCES):
            return each
    return None


def _fits(value: Any, kind: inspect.StructType) -> bool:
    if not kind.array_like or isinstance(value, dict):
        return not kind.array_like and isinstance(value, dict)
    return kind.tag is None or value[:1] == [kind.tag]
