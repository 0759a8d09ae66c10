"""Single-flight reads of the catalogue: concurrent requests for a key share one read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.definitions.catalogue import DescriptorReads

Answer = TypeVar("Answer")
Key: TypeAlias = tuple[str, ...]


class SingleFlightReads:
    """The reads that resolve descriptor ids, for many submissions at once.

    A request that arrives during a read waits for the next read. So each one sees everything that
    any process stored before it, and nothing is cached that could be out of date.
    """

    def __init__(self, catalogue: DescriptorReads) -> None:
        self._catalogue = catalogue
        self._rules: Batcher[Key, dict[str, str]] = Batcher(_once_each(self._read_rules))
        self._newest: Batcher[Key, str | None] = Batcher(_once_each(self._read_newest))

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        return await self._rules.ask((kind, *scope))

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None when it has none."""
        return await self._newest.ask((business, feature, alias))

    async def has_version(self, business: str, feature: str, version: str) -> bool:
        """Tell whether a version was ever added to a feature."""
        return await self._catalogue.has_version(business, feature, version)

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
