"""Rows of a file that no server would store are refused, and nobody is kept from lists by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from rillflow.ports.storage.access import ApiKey, Quota, encode_key
from rillflow.ports.storage.templates import TaskTemplate
from rillflow.stores.memory.store import MemoryStore
from rillflow.stores.transfer.rows import LARGEST_COUNTED
from rillflow.stores.transfer.tables import TABLES
from rillflow.transfer.frames import End, Header, TableFrame
from tests.api.moving import command, imported
from tests.api.serving import served
from tests.api.test_export_files import HEADER, ID, written
from tests.contract.tables import run_sql

DIGEST: Final = "ab" * 32
KEY: Final = ApiKey(name="ci", key_id=DIGEST[:12], digest=DIGEST, role="viewer")
VERSION: Final = "0" * 32
LARGE: Final = 1 << 62
WRONG_KEYS: Final[tuple[Mapping[str, Any], ...]] = (
    *({"role": "root"}, {"digest": "x"}, {"key_id": "x"}, {"workspaces": ("a b",)}),
    *({"expires_at_ms": LARGE}, {"quota": Quota(running=-1)}),
)
RIGHT: Final[Mapping[str, Mapping[str, Any]]] = {
    "known_versions": {"business": "shop", "feature": "order", "version": VERSION},
    "versions": {
        "business": "shop",
        "feature": "order",
        "alias": "release",
        "version": VERSION,
        "created_at_ms": 1,
    },
    "names": {"business": "shop", "feature": "order", "alias": "release"},
    "rules": {
        "kind": "gray",
        "business": "shop",
        "subject": "order",
        "name": "release",
        "rule": "uid > 1",
    },
    "task_templates": {
        "id": 77,
        "name": "mine",
        "type": 0,
        "category": "function",
        "icon": "",
        "task_yaml": "",
        "schema": "{}",
        "output": "{}",
        "enable": 1,
        "created_at_ms": 1,
        "updated_at_ms": 1,
    },
    "deaths": {"execution_id": ID, "life": "ab12", "step": "Submission", "at_ms": 1},
    "api_keys": {"name": "ci", "key": encode_key(KEY)},
}
WRONG: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "known_versions": ({"business": "a b"}, {"feature": ""}, {"version": "1"}),
    "versions": ({"alias": "a/b"}, {"version": VERSION.upper() + "F"}, {"created_at_ms": LARGE}),
    "names": (
        {"business": ""},
        {"feature": ""},
        {"alias": "../x"},
        dict.fromkeys(RIGHT["names"], ""),
    ),
    "rules": (
        *({"kind": "odd"}, {"business": "a:b"}, {"subject": ""}),
        *({"name": "a b"}, {"name": ""}, {"rule": ""}, {"kind": "ab", "name": ""}),
    ),
    "task_templates": (
        *({"type": 99}, {"type": -1}, {"category": "odd"}, {"category": ""}, {"enable": 2}),
        *({"id": 0}, {"id": LARGEST_COUNTED + 1}, {"name": ""}, {"name": "x" * 65}),
        *({"task_yaml": "x" * 65_536}, {"created_at_ms": -1}, {"updated_at_ms": LARGE}),
    ),
    "deaths": ({"execution_id": "x"}, {"life": ""}, {"step": "x" * 5_000}, {"at_ms": LARGE}),
    "api_keys": (
        *({"key": "{"}, {"name": "other"}),
        *({"key": encode_key(replace(KEY, **changes))} for changes in WRONG_KEYS),
    ),
}
WRONG_ROWS: Final = [
    pytest.param(table, changes, id=f"{table} {number}")
    for table, rows in WRONG.items()
    for number, changes in enumerate(rows)
]


def frame(table: str, changes: Mapping[str, Any]) -> TableFrame:
    row = {**RIGHT[table], **changes}
    return TableFrame(table, [tuple(row[name] for name in TABLES[table].names)])


@pytest.mark.parametrize(("table", "changes"), WRONG_ROWS)
async def test_a_row_that_no_server_stores_is_refused_with_its_place(
    tmp_path: Path, table: str, changes: Mapping[str, Any]
) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    path.write_bytes(written(HEADER, frame(table, changes), End(0)))
    code, _, error = await command("import", str(path), "--store", there, "--with-keys")
    assert code == 1
    assert f"of the table {table} is none that a server stores: " in error
    assert "(near frame 2)" in error
    assert len(error) < 1_000


@pytest.mark.parametrize("table", RIGHT)
async def test_a_row_that_a_server_stores_is_imported(tmp_path: Path, table: str) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    path.write_bytes(written(HEADER, frame(table, {}), End(0)))
    assert "0 executions and 1 rows" in await imported(there, path, "--with-keys")


async def test_no_file_uses_up_the_numbers_of_triggers(tmp_path: Path) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    forged = Header(format=1, release="0", exported_at_ms=0, next_trigger_id=LARGEST_COUNTED + 1)
    path.write_bytes(written(forged, End(0)))
    code, _, error = await command("import", str(path), "--store", there)
    assert (code, "next_trigger_id" in error) == (1, True)
    path.write_bytes(written(HEADER, End(0)))
    await imported(there, path)
    [(number,)] = await run_sql(there, "SELECT next_id FROM trigger_counter")
    assert number < 1_000


async def test_a_template_of_another_release_keeps_no_other_from_the_lists() -> None:
    store = MemoryStore()
    await store.open()
    odd = TaskTemplate(id=0, name="odd", type=99, category="odd")
    plain = TaskTemplate(id=0, name="plain", type=1, category="pass")
    for each in (odd, plain):
        await store.create_template(each, at_ms=1)
    async with served(store=store) as api:
        for path in ("get_task_templates", "get_template_prototypes"):
            listed = await api.get(f"/flow/template/{path}.json", node_type="template")
            shown = [each.get("template", each) for each in listed["data"]]
            assert [each["name"] for each in shown][-2:] == ["odd", "plain"]
            assert (shown[-2]["type_str"], shown[-2]["meta_data"]["icon"]) == ("", "")
