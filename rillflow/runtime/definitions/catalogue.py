"""The catalogue of definitions: adding, resolving and reading one (spec 5.4).

It keeps compiled plans in memory, and everything else in the store. It knows no execution.

Used by `runtime/submission/intake.py`, `runtime/activation`, `runtime/commands` and `serve/routes`.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from cachetools import LRUCache

from rillflow.core.plan import Plan
from rillflow.definition import (
    MAX_TEXT_BYTES,
    canonical_text,
    expand_sugar,
    parse_definition,
    version_of,
)
from rillflow.definition.model import DeclaredTrigger, WorkflowDefinition
from rillflow.errors import NotReadyError, RequestError, UnknownDescriptorError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import LONGEST_NAME, DescriptorId, is_name, parse_descriptor_id, why_no_name
from rillflow.jsontypes import JsonObject
from rillflow.language.bounded_cache import PATTERN_BYTES, BoundedCache
from rillflow.ports.storage.store import Catalogue, Store
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.aio.thread_pool import FOR_DEFINITIONS
from rillflow.runtime.aio.workspace_places import WorkspacePlaces
from rillflow.runtime.definitions.alias_rules import TURNS_OF_PROCESS, RuleTurns, first_that_holds
from rillflow.runtime.definitions.declared_triggers import declare_triggers, row_of
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.runtime.definitions.trigger_room import TriggerRoom
from rillflow.triggers.trigger_types import Check

RELEASE: Final = "release"
RESTRICTION_VIOLATION: Final = 30110

# Stored definitions are in a longer form, and were added under earlier limits.
_STORED_DEPTH: Final = 40
_STORED_BYTES: Final = 32 * MAX_TEXT_BYTES
_STORED_EXPANDED_BYTES: Final = sys.maxsize  # a plan shows references where they are too long
_READY_BYTES_PER_CHARACTER: Final = 64  # many short tasks took 52
_MOST_PATTERNS_AT_ONCE: Final = 4  # compiling one takes up to 2.5 ms
_WORKSPACE: Final = re.compile(r"^workspace: (.*)$", re.MULTILINE)


class DescriptorReads(Protocol):
    """The reads of a catalogue that are needed to resolve descriptor ids."""

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        ...

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None when it has none."""
        ...

    async def has_version(self, business: str, feature: str, version: str) -> bool:
        """Tell whether a version was ever added to a feature."""
        ...


async def add_descriptor(  # noqa: PLR0913 - the parameters of the endpoint
    store: Store,
    business: str,
    feature: str,
    alias: str,
    text: str,
    *,
    at_ms: int,
    max_depth: int = 10,
    max_bytes: int = MAX_TEXT_BYTES,
    sender: str | None = None,
    room: TriggerRoom | None = None,
    checks: Mapping[str, Check] | None = None,
) -> DescriptorId:
    """Validate a definition and make it the newest version of an alias.

    The largest takes half a second, so a process that serves others names the ``sender``, and it is
    read in a thread that senders share fairly. ``checks`` are those of the types of triggers that
    packages add.

    Raises:
        RequestError: A name is malformed, or is not the definition's (30109, 30110); the id of a
            trigger that it declares is taken (409), or there is no room for its triggers (30110).
        DefinitionError: The definition is refused.
        OverloadedError: Too many are being read in the thread.
    """
    check_names(business_id=business, feature_name=feature, alias=alias)
    owner = f"{business}:{feature}:{alias}"
    checked = partial(_checked_text, max_depth=max_depth, max_bytes=max_bytes)

    def read() -> tuple[str, list[tuple[TriggerRow, str]]]:
        canonical, triggers = checked(text, (business, feature))
        return canonical, [row_of(owner, each, at_ms, checks or {}) for each in triggers]

    if sender is None:
        canonical, rows = read()
    else:
        canonical, rows = await FOR_AUTHORS.run(read, sender=sender, text_bytes=len(text))
    version = version_of(canonical)
    async with (room or TriggerRoom(store)).taken(business, rows, instead_of=owner):
        await store.add_version(business, feature, alias, version, canonical, at_ms=at_ms)
        await declare_triggers(store, owner, rows, at_ms=at_ms)
    return DescriptorId(business, feature, version=version)


def _checked_text(
    text: str, names: tuple[str, str], *, max_depth: int, max_bytes: int
) -> tuple[str, tuple[DeclaredTrigger, ...]]:
    definition = parse_definition(text, max_depth=max_depth, max_bytes=max_bytes)
    if (definition.workspace, definition.dag_name) != names:
        named = f"{definition.workspace}:{definition.dag_name}"
        hint = (
            "business_id and feature_name must be workspace and dagName of the definition;"
            f" they are {':'.join(names)}, and the definition has {named}"
        )
        raise RequestError("name not match", wire_code=RESTRICTION_VIOLATION, hint=hint)
    if definition.enforce_input_schema and definition.input_schema:
        InputSchema(definition.input_schema)
    return canonical_text(expand_sugar(definition)), definition.triggers or ()


def check_names(*, removed: bool = False, **names: str) -> None:
    """Check names that were given as parameters.

    Names that are ``removed`` may be longer, because earlier releases accepted them.

    Raises:
        RequestError: One is empty, too long, or has other characters than letters and digits
            (30109).
    """
    longest = None if removed else LONGEST_NAME
    for parameter, name in names.items():
        if not is_name(name) or (longest is not None and len(name) > longest):
            hint = f"{parameter}: {why_no_name(name, longest)}"
            raise RequestError("error data format", hint=hint)


async def stored_text(catalogue: Catalogue, version: str) -> str:
    """Read the canonical text of a version.

    Raises:
        UnknownDescriptorError: No such text is stored.
    """
    text = await catalogue.definition_text(version)
    if text is None:
        raise UnknownDescriptorError(f"descriptor:{version} value empty")
    return text


def workspace_in(text: str) -> str:
    """Return the workspace as a canonical text names it, so that workspaces can take turns.

    What is written over several lines is indented or escaped there, so no other value is found.
    """
    found = _WORKSPACE.search(text)
    return found[1] if found else ""


def read_bytes(text: str) -> int:
    """Estimate the memory of a definition, whose rules are not compiled, by its canonical text."""
    return len(text) * _READY_BYTES_PER_CHARACTER


def ready_bytes(text: str) -> int:
    """Estimate the memory of a plan by the canonical text of its definition."""
    return read_bytes(text) + text.count("=~") * PATTERN_BYTES


def is_ready_at_once(text: str) -> bool:
    """Tell whether a definition is read, and its plan made, in a few milliseconds."""
    return len(text) <= SHORT_BYTES and text.count("=~") <= _MOST_PATTERNS_AT_ONCE


def parse_stored(text: str) -> WorkflowDefinition:
    """Parse a canonical text; its depth and lengths were checked when it was added.

    Raises:
        DefinitionError: It is no longer valid.
    """
    return parse_definition(
        text,
        max_depth=_STORED_DEPTH,
        max_bytes=_STORED_BYTES,
        most_expanded_bytes=_STORED_EXPANDED_BYTES,
    )


async def resolve_descriptor(
    catalogue: DescriptorReads,
    descriptor_id: str,
    *,
    uid: int = 0,
    data: JsonObject | None = None,
    turns: RuleTurns = TURNS_OF_PROCESS,
) -> DescriptorId:
    """Resolve a descriptor id to a version, as of now.

    Args:
        catalogue: Where definitions are kept.
        descriptor_id: ``business:feature[:alias | :md5_<hex32>]``.
        uid: The caller's, for gray rules.
        data: The data of the submission, for gray rules.
        turns: The turns to choose by gray rules.

    Returns:
        The id with its version, and with the alias that led to it, if one did.

    Raises:
        InvalidIdError: The id is malformed.
        UnknownDescriptorError: Nothing is stored under it.
    """
    wanted = parse_descriptor_id(descriptor_id)
    if wanted.version is not None:
        if not await catalogue.has_version(wanted.business, wanted.feature, wanted.version):
            raise UnknownDescriptorError(f"descriptor:{descriptor_id} value empty")
        return wanted
    alias = wanted.alias or await _gray_alias(catalogue, wanted, uid, data or {}, turns)
    version = await catalogue.newest_version(wanted.business, wanted.feature, alias)
    if version is None:
        raise UnknownDescriptorError(
            f"cannot find descriptor: {wanted.business}:{wanted.feature}:{alias}",
            hint=f"no definition was added to {wanted.business}:{wanted.feature} as {alias}",
        )
    return wanted._replace(alias=alias, version=version)


async def _gray_alias(
    catalogue: DescriptorReads, wanted: DescriptorId, uid: int, data: JsonObject, turns: RuleTurns
) -> str:
    rules = await catalogue.rules("gray", (wanted.business, wanted.feature))
    if not rules:
        return RELEASE
    business = wanted.business
    chosen = await first_that_holds(rules, uid=uid, data=data, workspace=business, turns=turns)
    return chosen or RELEASE


Answer = TypeVar("Answer")
Key: TypeAlias = tuple[str, ...]
MOST_ADDED: Final = 10_000
"""How many versions are remembered as added; the least recently used are read again."""


class SingleFlightReads:
    """The reads that resolve descriptor ids, for many submissions at once.

    A request that arrives during a read waits for the next read. So each one sees everything that
    any process stored before it, and nothing is cached that could be out of date. That a version
    was added to a feature stays true, so it is read once.
    """

    def __init__(self, catalogue: DescriptorReads) -> None:
        self._catalogue = catalogue
        self._rules: Batcher[Key, dict[str, str]] = Batcher(_once_each(self._read_rules))
        self._newest: Batcher[Key, str | None] = Batcher(_once_each(self._read_newest))
        self._added = LRUCache[Key, bool](MOST_ADDED)

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        return await self._rules.ask((kind, *scope))

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None when it has none."""
        return await self._newest.ask((business, feature, alias))

    async def has_version(self, business: str, feature: str, version: str) -> bool:
        """Tell whether a version was ever added to a feature."""
        key = (business, feature, version)
        if key in self._added:
            return True
        is_added = await self._catalogue.has_version(business, feature, version)
        if is_added:
            self._added[key] = True
        return is_added

    async def _read_rules(self, key: Key) -> dict[str, str]:
        kind, *scope = key
        return await self._catalogue.rules(kind, scope)

    async def _read_newest(self, key: Key) -> str | None:
        return await self._catalogue.newest_version(*key)


def _once_each(
    read: Callable[[Key], Awaitable[Answer]],
) -> Callable[[list[Key]], Awaitable[list[Answer]]]:
    """Return a function that reads a batch of keys, each once."""

    async def read_all(keys: list[Key]) -> list[Answer]:
        distinct = list(dict.fromkeys(keys))
        if len(distinct) == 1:
            return [await read(distinct[0])] * len(keys)
        answers = await asyncio.gather(*map(read, distinct))
        found = dict(zip(distinct, answers, strict=True))
        return [found[key] for key in keys]

    return read_all


class SingleFlight(Generic[Answer]):
    """One read for all who ask for the same at once, so that many hold one text in memory."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._under_way

    async def ask(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return what the read under way returns, begun if there is none."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(read())
            task.add_done_callback(partial(self._over, key))
        return await asyncio.shield(task)

    def _over(self, key: Hashable, task: "asyncio.Task[Answer]") -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # who asked may have left


PLANS_BYTES: Final = 256 * 1024 * 1024
"""Limit of the memory of the plans in an owner."""


class Plans:
    """Plans by md5; their memory is estimated and limited, and workspaces have shares of it.

    Attributes:
        ready: Returns a plan that is in memory, else None; a method of the cache, since every
            submission asks.
    """

    def __init__(self, catalogue: Catalogue, *, most_bytes: int = PLANS_BYTES) -> None:
        self._catalogue = catalogue
        self._plans = BoundedCache[Plan](most_bytes)
        self.ready = self._plans.get
        self._reads = SingleFlight[Plan]()
        self._places = WorkspacePlaces()
        self._texts = SingleFlight[str]()

    async def get(
        self, definition_id: str, *, waits: bool = True, refuses: bool = False, workspace: str = ""
    ) -> Plan:
        """Return a plan, read from the catalogue on first use.

        Where nothing is refused, some of a ``workspace`` have read their texts, and the others wait
        without: their number has no limit.

        Raises:
            NotReadyError: Making it takes long, and the caller does not wait.
            OverloadedError: Too many of its workspace wait, where it ``refuses`` more (429).
            StoreError: The catalogue could not be read.
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
        """
        plan = self._plans.get(definition_id)
        if plan is not None:
            return plan
        if waits:
            # Who must not be refused joins nobody who may be.
            return await self._reads.ask(
                (definition_id, refuses),
                lambda: self._read(definition_id, workspace, refuses=refuses),
            )
        if any((definition_id, each) in self._reads for each in (True, False)):
            raise NotReadyError(f"definition {definition_id} is being made")
        text = await self._text(definition_id)
        if not is_ready_at_once(text):
            raise NotReadyError(f"definition {definition_id} is long")
        return self._make(definition_id, text)

    async def _read(self, definition_id: str, workspace: str, *, refuses: bool) -> Plan:
        if refuses:
            return await self._read_at_once(definition_id, refuses=True)
        async with self._places.place(workspace):
            return await self._read_at_once(definition_id, refuses=False)

    async def _read_at_once(self, definition_id: str, *, refuses: bool) -> Plan:
        text = await self._text(definition_id)
        if is_ready_at_once(text):
            return self._make(definition_id, text)
        make = partial(self._make, definition_id, text)
        return await FOR_DEFINITIONS.run(workspace_in(text), make, size=len(text), refuses=refuses)

    async def _text(self, definition_id: str) -> str:
        return await self._texts.ask(definition_id, lambda: self._stored(definition_id))

    async def _stored(self, definition_id: str) -> str:
        text = await self._catalogue.definition_text(definition_id)
        if text is None:
            raise UnknownDescriptorError(f"definition {definition_id} is not stored")
        return text

    def _make(self, definition_id: str, text: str) -> Plan:
        """Make a plan, unless it was made since: many may wait for one."""
        plan = self._plans.get(definition_id)
        if plan is not None:
            return plan
        plan = Plan(
            parse_stored(text),
            definition_id,
            size_bytes=ready_bytes(text),
            text_bytes=len(text),
        )
        holder = plan.definition.workspace or ""
        return self._plans.put(definition_id, plan, plan.size_bytes, holder)
