"""Actors are replaced when the runtime environment changes that they inherit."""

from typing import Any

import pytest

from rillflow.actors.ray_context import digest_of
from rillflow.runtime.supervision.deployed import record, stated
from rillflow.settings import Settings
from rillflow.stores import open_store

GIVEN: dict[str, Any] = {
    "working_dir": "gcs://a.zip",
    "env_vars": {"RILLFLOW_SECRET_TOKEN": "first", "TZ": "UTC"},
}


@pytest.mark.parametrize(
    "runtime_env",
    [
        {**GIVEN, "env_vars": {**GIVEN["env_vars"], "RILLFLOW_SECRET_TOKEN": "second"}},
        {**GIVEN, "env_vars": {**GIVEN["env_vars"], "RILLFLOW_SECRET_OTHER": "new"}},
        {**GIVEN, "env_vars": {"RILLFLOW_SECRET_TOKEN": "first"}},
        {**GIVEN, "working_dir": "gcs://b.zip"},
        {**GIVEN, "pip": ["a==2"]},
        {},
    ],
)
def test_another_secret_or_other_shipped_code_is_another_environment(
    runtime_env: dict[str, Any],
) -> None:
    assert digest_of(runtime_env) != digest_of(GIVEN)


@pytest.mark.parametrize(
    "runtime_env",
    [
        {**GIVEN, "config": {"eager_install": False}},
        {**GIVEN, "_ray_commit": "abc"},
        dict(reversed(GIVEN.items())),
    ],
)
def test_what_actors_do_not_use_changes_nothing(runtime_env: dict[str, Any]) -> None:
    assert digest_of(runtime_env) == digest_of(GIVEN)


def test_an_environment_changes_the_digest_of_secrets_only() -> None:
    first, second = (stated(Settings(), environment) for environment in ("first", "second"))
    assert first.secrets_digest != second.secrets_digest
    assert first.settings_digest == second.settings_digest


async def test_another_environment_is_the_next_version_where_a_controller_runs() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(Settings(), store, environment="first")
    assert await record(Settings(), store, first, environment="first") == first
    second = await record(Settings(), store, first, environment="second")
    assert second.version == 2


async def test_of_replicas_that_start_at_once_one_counts_the_version_up() -> None:
    store = open_store("memory:")
    await store.open()
    first = await record(Settings(), store, environment="first")
    versions = [
        (await record(Settings(), store, first, environment="second")).version for _ in range(3)
    ]
    assert versions == [2, 2, 2]
