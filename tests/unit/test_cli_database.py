"""`rillflow db` tells the version of a database, upgrades an old one and refuses a newer one."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rillflow.cli import app
from rillflow.stores.schema_status import MIGRATIONS, SchemaStatus
from rillflow.stores.sqlite import schema as sqlite_schema
from rillflow.stores.sqlite.store import SqliteStore
from rillflow.stores.urls import masked
from tests.contract.later_schemas import NEXT, upgrade_to

NEWEST = sqlite_schema.VERSION


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rillflow.db"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["db", *arguments])
    return result.exit_code, result.stdout, result.stderr


def old_database(path: Path) -> None:
    """Make the database that the release before this one has left."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sqlite_schema.migrate(connection, sqlite_schema.MIGRATIONS[: NEWEST - 1])


def test_an_old_database_is_shown_and_upgraded(path: Path) -> None:
    old_database(path)
    content = path.read_bytes()
    code, shown, _ = run("status", "--store", f"sqlite://{path}")
    assert code == 0
    assert shown.splitlines() == [
        f"store    sqlite://{path}",
        f"version  {NEWEST - 1}, this release needs {NEWEST}",
        f"upgrade  would make {NEWEST}: {MIGRATIONS[-1].what}",
        f"writers  processes of version {NEWEST - 1} stop writing after the upgrade",
    ]
    assert path.read_bytes() == content

    code, shown, _ = run("upgrade", "--store", f"sqlite://{path}")
    assert code == 0
    assert shown.splitlines() == [
        f"made {NEWEST}: {MIGRATIONS[-1].what}",
        f"store    sqlite://{path}",
        f"version  {NEWEST}, this release needs {NEWEST}",
    ]
    assert sqlite_schema.schema_status(path).is_current
    _, shown, _ = run("status", "--store", f"sqlite://{path}")
    assert shown.splitlines()[-1] == "upgrade  nothing to do"


def test_the_embedded_store_of_another_folder_is_found_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_STORE", f"sqlite://{tmp_path / 'other.db'}")
    old_database(tmp_path / "rillflow.db")
    code, shown, _ = run("upgrade", "--data-dir", str(tmp_path))
    assert code == 0
    assert f"store    sqlite:///{tmp_path.resolve() / 'rillflow.db'}" in shown
    _, shown, _ = run("status", "--data-dir", str(tmp_path))
    assert shown.splitlines()[-1] == "upgrade  nothing to do"
    assert not (tmp_path / "other.db").exists()
    assert run("status", "--data-dir", str(tmp_path), "--store", "sqlite:///x.db")[0] == 2


def test_a_newer_database_is_refused_with_the_reason(path: Path) -> None:
    asyncio.run(SqliteStore(path).open())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    code, shown, error = run("status", "--store", f"sqlite://{path}")
    assert code == 1
    assert f"version  {NEWEST + 1}, this release needs {NEWEST}" in shown
    assert "use the release that upgraded it" in error
    code, shown, error = run("upgrade", "--store", f"sqlite://{path}")
    assert (code, shown) == (1, "")
    assert f"schema version {NEWEST + 1}" in error
    assert sqlite_schema.schema_status(path) == SchemaStatus(NEWEST + 1, NEWEST)


def test_a_newer_database_that_lets_this_release_go_on_is_no_error(path: Path) -> None:
    url = f"sqlite://{path}"
    asyncio.run(upgrade_to(url, NEXT))
    for command in ("status", "upgrade"):
        code, shown, _ = run(command, "--store", url)
        assert code == 0
        assert f"version  {NEWEST + 1}, this release needs {NEWEST}" in shown
    assert sqlite_schema.schema_status(path) == SchemaStatus(NEWEST + 1, NEWEST, NEWEST)


def test_without_a_url_it_is_the_store_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path / "data"))
    _, shown, _ = run("status")
    assert shown.splitlines()[:2] == [
        f"store    sqlite:///{tmp_path}/data/rillflow.db",
        f"version  none, this release needs {NEWEST}",
    ]
    assert len(shown.splitlines()) == 2 + NEWEST
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("url", "reason"), [("memory:", "no tables"), ("redis://x", "no store is known")]
)
def test_what_is_no_database_is_refused_with_the_reason(url: str, reason: str) -> None:
    for command in ("status", "upgrade"):
        code, shown, error = run(command, "--store", url)
        assert (code, shown) == (1, "")
        assert reason in error


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pa:ss@w@host:5/d?x=1", "postgresql://me:***@host:5/d?x=1"),
        ("postgresql://me@host/d", "postgresql://me@host/d"),
        ("postgresql://host/d?password=secret&x=1", "postgresql://host/d?password=***&x=1"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_backup_is_made_verified_and_restored(path: Path, tmp_path: Path) -> None:
    store, backup = f"sqlite://{path}", tmp_path / "backup.db"
    assert run("upgrade", "--store", store)[0] == 0
    code, shown, _ = run("backup", str(backup), "--store", store)
    assert code == 0
    assert shown == f"backed up {path} to {backup} ({backup.stat().st_size:,} bytes)\n"
    assert run("verify", str(backup)) == (
        0,
        f"verified {backup}: 0 executions, 0 definitions\n",
        "",
    )
    code, shown, _ = run("restore", str(backup), "--store", store)
    assert code == 0
    assert shown.splitlines() == [
        f"restored {path} from {backup}",
        f"the replaced store is now {path}.before-restore-1",
    ]


def test_what_is_damaged_is_told_and_the_exit_code_is_1(path: Path) -> None:
    assert run("upgrade", "--store", f"sqlite://{path}")[0] == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = "execution_id, business, feature, partition, definition_id"
        connection.execute(
            f"INSERT INTO executions ({columns}, submitted_at_ms, dedicated, status)"  # noqa: S608
            " VALUES ('a:b_c_1', 'a', 'b', 0, '', 0, 0, 'RUNNING')"
        )
    code, shown, error = run("verify", str(path))
    assert code == 1
    assert shown == f"checked {path}: 1 executions, 0 definitions\n"
    assert error.splitlines() == [
        "damaged  a:b_c_1: its definition  is missing",
        "damaged  a:b_c_1: it has neither records nor a snapshot",
    ]


def test_a_missing_wal_file_is_accepted_when_told_to(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    asyncio.run(store.open())
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    asyncio.run(store.close())
    code, _, error = run("verify", str(copy))
    assert code == 1
    assert "rillflow db verify --accept-missing-wal" in error
    assert run("verify", str(copy), "--accept-missing-wal")[0] == 0
    assert run("upgrade", "--store", f"sqlite://{copy}")[0] == 0


def test_for_postgresql_its_own_tools_are_named() -> None:
    url = "postgresql://rillflow:secret@localhost/rillflow"
    for command, tool in [
        (("backup", "x.db"), "pg_dump"),
        (("restore", "x.db"), "pg_restore"),
        (("verify",), "pg_amcheck"),
    ]:
        code, _, error = run(*command, "--store", url)
        assert code == 1
        assert tool in error
        assert "secret" not in error


def test_a_file_excludes_a_store(tmp_path: Path) -> None:
    assert run("verify", "x.db", "--data-dir", str(tmp_path))[0] == 2
