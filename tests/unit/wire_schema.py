"""The fields of everything that processes send each other, and of the journal, by their tags.

    python -m tests.unit.wire_schema    # writes tests/unit/wire_schema.json

Written anew by a release that raises the protocol, and not before: the file is what the release
before knows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.dispatcher_actor import DispatcherActor
from rillflow.actors.execution_actor import ExecutionActor
from rillflow.core.events import Event
from rillflow.core.state import ExecutionState
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.executions import Reply
from rillflow.ports.gateway import HostState
from rillflow.ports.messages import DispatcherMessage, GetLoopState, OwnerMessage
from rillflow.ports.readiness import Reason

ROOTS: Final = (
    *(OwnerMessage, DispatcherMessage, GetLoopState, Reply, HostState, Reason),
    *(Event, ExecutionState),
)
FILE: Final = Path(__file__).with_suffix(".json")
Schema: TypeAlias = dict[str, list[str]]


def schema() -> Schema:
    """Return, for each struct, its fields in their order; one without a default ends with ``!``."""
    found: Schema = {}
    pending: list[Any] = [inspect.type_info(root) for root in ROOTS]
    while pending:
        each = pending.pop()
        if isinstance(each, inspect.StructType):
            name = f"{each.cls.__name__} {each.tag}"
            if name in found:
                continue
            found[name] = [f"{its.encode_name}{'!' * its.required}" for its in each.fields]
        pending.extend(_parts(each))
    return dict(sorted(found.items()))


def _parts(info: Any) -> Iterator[Any]:
    for name in getattr(type(info), "__struct_fields__", ()):
        value = getattr(info, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, inspect.Field):
                yield part.type
            elif isinstance(part, inspect.Type):
                yield part


def methods() -> Schema:
    """Return the methods of each class of actors that Ray sends by their names."""
    return {
        kind.__name__: sorted(
            name
            for name, method in vars(kind).items()
            if isinstance(method, FunctionType) and method.__module__ == kind.__module__
        )
        for kind in (ControllerActor, DispatcherActor, ExecutionActor)
    }


def stored() -> tuple[int, Schema, Schema]:
    """Return the protocol, the schema and the methods of the file."""
    content = msgspec.json.decode(FILE.read_bytes())
    return content["protocol"], content["schema"], content["methods"]


def _as_lines(found: Schema) -> str:
    return ",\n".join(f"  {json.dumps(name)}: {json.dumps(its)}" for name, its in found.items())


if __name__ == "__main__":
    FILE.write_text(
        f'{{\n "protocol": {PROTOCOL},\n "schema": {{\n{_as_lines(schema())}\n }},\n'
        f' "methods": {{\n{_as_lines(methods())}\n }}\n}}\n'
    )
