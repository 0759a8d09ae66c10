"""A deployment gets a new version when what actors use changes, and says nothing of secrets."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.deployed import (
    REPLICAS_ONLY,
    code_version,
    following,
    record,
    secrets_digest,
    settings_digest,
    stated,
)
from rillflow.settings import Settings
from rillflow.stores import open_store
from serve.deployment import listening_on

PACKAGE = Path(__file__).parents[2] / "rillflow"
SECRET = "a-secret-that-is-long-enough"


def settings(**changes: Any) -> Settings:
    return Settings(**changes)


@pytest.mark.parametrize(
    "change",
    [
        {"plugins": ("a",)},
        {"rates_by_host": {"api.example": 5.0}},
        {"call_timeout_s": 31.0},
        {"execution_actors": 2},
        {"callback_host": "http://there:1"},
    ],
)
def test_a_setting_that_actors_use_changes_the_digest(change: dict[str, Any]) -> None:
    assert settings_digest(settings(**change)) != settings_digest(settings())


@pytest.mark.parametrize(
    "change",
    [
        {"auth_secret": SECRET},
        {"callback_keys": (SECRET * 3,)},
        {"store": f"postgresql://user:{SECRET}@host/db"},
    ],
)
def test_a_secret_changes_the_digest_of_secrets_only(change: dict[str, Any]) -> None:
    assert secrets_digest(settings(**change)) != secrets_digest(settings())
    assert settings_digest(settings(**change)) == settings_digest(settings())


def test_a_setting_of_replicas_changes_neither() -> None:
    changed = settings(replicas=3, api_key=SECRET * 3)
    assert stated(changed) == stated(settings())


def test_what_a_replica_says_of_where_it_listens_changes_nothing() -> None:
    for host in ("127.0.0.1", "10.0.0.1"):
        asked = settings(host=host)
        assert stated(listening_on(asked, host)) == stated(asked)


def test_every_setting_of_replicas_is_a_setting() -> None:
    assert set(Settings.model_fields) >= REPLICAS_ONLY


def test_the_version_of_the_code_is_that_of_every_file(tmp_path: Path) -> None:
    package = tmp_path / "rillflow"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    same = _code_version_of(tmp_path)
    assert same == code_version()
    with (package / "actors" / "drain.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = _code_version_of(tmp_path)
    assert changed != same
    assert changed.partition("+")[0] == same.partition("+")[0]


def _code_version_of(folder: Path) -> str:
    """Ask a process that runs the package in this folder."""
    asked = "from rillflow.runtime.supervision.deployed import code_version; print(code_version())"
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", asked], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def test_the_same_settings_have_the_same_version() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(settings(), store)
    assert (first.version, first.partition_map) == (1, 1)
    assert first.store_id
    assert await record(settings(), store) == first


async def test_other_settings_have_the_next_version_and_the_same_map() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(settings(), store)
    second = await record(settings(plugins=("a",)), store)
    assert (second.version, second.partition_map, second.store_id) == (2, 1, first.store_id)
    third = await record(settings(), store)
    assert (third.version, third.partition_map) == (3, 1)


async def test_another_number_of_execution_actors_is_another_map() -> None:
    store = open_store("memory:")
    await store.open()
    await record(settings(), store)
    wider = await record(settings(execution_actors=3), store)
    assert (wider.version, wider.partition_map) == (2, 2)
    more = await record(settings(execution_actors=3, dispatcher_actors=2), store)
    assert (more.version, more.partition_map) == (3, 2)


async def test_other_secrets_than_the_controller_has_are_a_new_version() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(settings(), store)
    changed = settings(auth_secret=SECRET)
    second = await record(changed, store, running=first)
    assert second.version == 2
    assert second.secrets_digest == secrets_digest(changed)
    stored = await store.deployment()
    assert stored is not None
    assert stored.secrets_digest == ""
    assert await record(changed, store, running=second) == second


@given(
    stored=st.integers(1, 9),
    running=st.none() | st.integers(1, 9),
    owners=st.integers(1, 3),
    before=st.integers(1, 3),
)
def test_a_version_never_goes_back(
    stored: int, running: int | None, owners: int, before: int
) -> None:
    asked = stated(settings(execution_actors=owners))
    kept = Deployment(
        store_id="s",
        version=stored,
        partition_map=1,
        settings_digest="other",
        code_version=asked.code_version,
        execution_actors=before,
        dispatcher_actors=1,
    )
    held = None if running is None else replace(kept, version=running)
    wanted = following(asked, kept, held, "new")
    assert wanted.version > max(stored, running or 0)
    assert wanted.store_id == "s"
    assert (wanted.partition_map == kept.partition_map) == (owners == before)
