"""Actors are replaced when the runtime environment changes that they inherit."""

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from ray import cloudpickle

from rillflow.actors.ray_context import digest_of, import_actors
from rillflow.private_apis.ray_core.state import HOOK, PRELOADS
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
        {**GIVEN, "env_vars": {**GIVEN["env_vars"], HOOK: "key", PRELOADS: "1"}},
    ],
)
def test_what_actors_do_not_use_changes_nothing(runtime_env: dict[str, Any]) -> None:
    assert digest_of(runtime_env) == digest_of(GIVEN)


def test_a_hook_of_whoever_deploys_is_part_of_the_environment() -> None:
    hooked = {**GIVEN, "env_vars": {**GIVEN["env_vars"], HOOK: "key"}}
    assert digest_of(hooked) != digest_of(GIVEN)


def test_where_rillflow_is_missing_what_imports_it_first_raises_nothing(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_bytes(cloudpickle.dumps(import_actors))
    program = (
        "import pickle, sys; sys.modules['rillflow'] = None;"
        f"pickle.load(open({str(hook)!r}, 'rb'))()"
    )
    run([sys.executable, "-c", program], check=True, cwd=tmp_path)  # noqa: S603 - our own


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
