"""A release is not deployed on a store with unfinished executions of a later language version."""

import asyncio
import pickle
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from rillflow.errors import ProtocolError
from rillflow.language.versions import CURRENT
from rillflow.ports.deployment import decode_stored, encode_stored
from rillflow.runtime.supervision.deployed import record
from rillflow.runtime.supervision.language_history import (
    UNRECORDED,
    earlier_language,
    later_since_ms,
    with_language,
)
from rillflow.settings import Settings
from rillflow.stores import open_store
from serve.stack.node_probe import _store
from tests.contract.appends import submit
from tests.deployments import FIRST

LATER: Final = CURRENT + 1


def test_each_version_is_known_with_the_time_of_its_first_deployment() -> None:
    known = with_language((), UNRECORDED, 5)
    assert known == ((UNRECORDED, 0),)
    assert with_language(known, UNRECORDED, 6) == known
    later = with_language(known, UNRECORDED + 1, 7)
    assert later == ((UNRECORDED, 0), (UNRECORDED + 1, 7))
    assert with_language(later, UNRECORDED + 1, 8) == later
    assert with_language(later, UNRECORDED + 3, 9)[-1] == (UNRECORDED + 3, 9)


def test_going_back_forgets_the_later_versions() -> None:
    known = ((3, 0), (4, 7), (6, 9))
    assert with_language(known, 4, 11) == ((3, 0), (4, 7))
    assert with_language(known, 5, 11) == ((3, 0), (4, 7), (5, 11))
    assert with_language(with_language(known, 3, 11), 6, 12) == ((3, 0), (6, 12))


def test_executions_may_be_of_a_later_version_since_the_first_one_that_is_later() -> None:
    known = ((3, 0), (4, 7), (6, 9))
    assert [later_since_ms(known, language) for language in (2, 3, 4, 5, 6, 7)] == [
        *(0, 7, 9, 9, None, None)
    ]
    assert later_since_ms((), 1) is None


def test_the_store_keeps_the_versions_and_processes_do_not_tell_them() -> None:
    known = replace(FIRST, languages=((3, 0), (4, 7)))
    assert decode_stored(encode_stored(known)) == known
    assert pickle.loads(pickle.dumps(known)) == FIRST  # noqa: S301 - our own


async def test_a_store_whose_executions_may_be_of_a_later_version_refuses_a_deployment() -> None:
    store = open_store("memory:")
    await store.open()
    await record(Settings(), store)
    stored = await store.deployment()
    assert stored is not None
    assert stored.languages == ((CURRENT, 0),)
    await store.append([submit(1, status="running", submitted_at_ms=100)])
    later = replace(stored, languages=((CURRENT, 0), (LATER, 101)), version=2)
    assert await store.set_deployment(later, after_version=1)
    assert await earlier_language(store) == ""
    await store.append([submit(2, status="running", submitted_at_ms=101)])
    told = await earlier_language(store)
    assert f"up to {CURRENT}, and 1 executions that have not ended may have version {LATER}" in told
    with pytest.raises(ProtocolError, match="keep the later release"):
        await record(Settings(), store)
    assert await store.deployment() == later


async def test_a_deployment_that_goes_back_is_one_like_others() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(Settings(), store)
    later = replace(first, languages=((CURRENT, 0), (LATER, 5)), code_version="later", version=2)
    assert await store.set_deployment(later, after_version=1)
    back = await record(Settings(), store)
    assert (back.version, back.code_version) == (3, first.code_version)
    stored = await store.deployment()
    assert stored is not None
    assert stored.languages == ((CURRENT, 0),)
    assert back == replace(stored, languages=(), secrets_digest=first.secrets_digest)


def test_a_check_of_a_deployment_tells_it_before_anything_changes(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    assert _store(settings) == {"upgrade": []}, "a check makes no store"
    assert not list(tmp_path.iterdir())

    async def write(*languages: tuple[int, int]) -> None:
        store = open_store(settings.store_url)
        await store.open()
        wanted = await record(settings, store)
        if not languages:
            await store.append([submit(1, status="running")])
        later = replace(wanted, languages=languages, version=wanted.version + 1)
        assert await store.set_deployment(later, after_version=wanted.version)
        await store.close()

    asyncio.run(write())
    assert _store(settings) == {"upgrade": []}
    asyncio.run(write((CURRENT, 0), (LATER, 1)))
    assert "keep the later release, or deploy it again" in _store(settings)["problem"]
