"""A type of triggers that a package adds: the example starts an execution for each new file."""

import asyncio
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.errors import CronError
from rillflow.gateways.plugins.trigger_types import installed_trigger_types
from tests.api.definition_texts import PASS
from tests.api.serving import LONG_S, Api, served

pytestmark = pytest.mark.asyncio

PLUGIN: Final = Path(__file__).parents[2] / "examples" / "plugins" / "rillflow_folder"
OURS: Final = "/flow/triggers"
LONG_AGO_S: Final = 1_700_000_000


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the example, as far as the import system can tell, and allow a folder."""
    site = tmp_path / "site"
    facts = site / "rillflow_folder-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rillflow-folder\nVersion: 0.1.0\n"
    )
    (facts / "entry_points.txt").write_text(
        "[rillflow.triggers]\nfolder = rillflow_folder:FolderTriggers\n"
        "broken = rillflow_folder:Missing\n"
    )
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.syspath_prepend(str(site))
    folder = tmp_path / "in"
    folder.mkdir()
    monkeypatch.setenv("RILLFLOW_FOLDERS", str(tmp_path / "in"))
    yield folder
    sys.modules.pop("rillflow_folder", None)


def put(folder: Path, name: str, age_s: int = 0) -> None:
    """Make a file that was written some time ago."""
    (folder / name).write_text(name)
    os.utime(folder / name, (LONG_AGO_S - age_s, LONG_AGO_S - age_s))


async def started(api: Api, count: int) -> list[str]:
    """Return the names of the files for which executions were started, once there are so many."""
    params = {"business": "shop", "feature": "order"}
    async with asyncio.timeout(LONG_S):
        while True:
            found = (await api.get("/flow/bg/get_execution_ids.json", **params))["items"]
            if len(found) >= count:
                break
    ended = [await api.ended(each["execution_id"]) for each in found]
    return sorted(each["context"]["name"] for each in ended)


def new(folder: Path, **source: Any) -> dict[str, Any]:
    settings = {"type": "folder", "path": str(folder)} | source
    return {"id": "files", "descriptor_id": "shop:order", "source": settings}


async def test_each_new_file_starts_an_execution_also_after_a_restart(folder: Path) -> None:
    put(folder, "b.csv", age_s=1)
    put(folder, "a.csv", age_s=2)
    put(folder, "notes.txt")
    (folder / "link.csv").symlink_to("/etc/passwd")
    async with served() as api:
        store = api.stack.store
        await api.add(PASS)
        added = await api.post(f"{OURS}/add.json", new(folder, pattern="*.csv"))
        assert added["type"] == "folder"
        assert added["source"] == {"type": "folder", "path": str(folder), "pattern": "*.csv"}
        assert await started(api, 2) == ["a.csv", "b.csv"]
    put(folder, "c.csv")
    async with served(store=store) as again:
        assert await started(again, 3) == ["a.csv", "b.csv", "c.csv"]
        put(folder, "a.csv", age_s=5)
        assert await started(again, 4) == ["a.csv", "a.csv", "b.csv", "c.csv"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"path": "/etc"}, "path must be a folder below one of those that RILLFLOW_FOLDERS allows"),
        ({"path": "in"}, "path must be a folder"),
        ({"path": 5}, "path must be a folder"),
        ({"path": "/\0"}, "path must be a folder"),
        ({"pattern": "../*"}, "pattern is for the names of files"),
        ({"recursive": True}, "no 'recursive'"),
        ({"type": "kafka"}, "source needs type"),
        ({"type": "broken"}, "installed: folder"),
    ],
)
async def test_the_package_checks_the_settings(
    folder: Path, source: dict[str, Any], reason: str
) -> None:
    async with served() as api:
        refusal = await api.refusal(f"{OURS}/add.json", new(folder, **source))
        assert refusal[:2] == (400, 30109)
        assert reason in refusal[2]


async def test_a_way_out_of_the_allowed_folder_is_refused(folder: Path) -> None:
    (folder / "out").symlink_to("/etc")
    async with served() as api:
        for path in (f"{folder}/../site", f"{folder}/out"):
            refusal = await api.refusal(f"{OURS}/add.json", new(folder, path=path))
            assert refusal[:2] == (400, 30109)


@pytest.mark.parametrize(
    ("allowed", "path", "workspaces"),
    [
        ("{}", "", {"shop", "press"}),
        ("shop={}", "", {"shop"}),
        ("shop={}:press={}", "", {"shop", "press"}),
        ("*={}:shop={}/own", "own", {"shop"}),
        ("{}:shop={}/own", "own/deep", {"shop"}),
        ("{}:shop={}/own", "common", {"shop", "press"}),
        ("shop={}/own", "", set()),
        ("shop=:={}", "", set()),
    ],
)
async def test_an_entry_allows_a_folder_to_its_workspace_and_the_innermost_counts(
    folder: Path, allowed: str, path: str, workspaces: set[str]
) -> None:
    module = importlib.import_module("rillflow_folder")
    types = module.FolderTriggers({"RILLFLOW_FOLDERS": allowed.replace("{}", str(folder))})
    settings = {"path": f"{folder}/{path}", "pattern": "*"}
    opened = set()
    for workspace in ("shop", "press"):
        try:
            types.open_for(workspace, "files", settings)
        except CronError as error:
            assert "allows the workspace" in str(error)  # noqa: PT017 - some may open it
        else:
            opened.add(workspace)
    assert opened == workspaces


async def test_a_workspace_does_not_watch_the_folder_of_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_FOLDERS", f"press={folder}")
    put(folder, "a.csv")
    async with served() as api:
        await api.add(PASS)
        await api.post(f"{OURS}/add.json", new(folder))
        async with asyncio.timeout(LONG_S):
            while True:
                shown = await api.get(f"{OURS}/show.json", trigger_id="files")
                if shown["state"] == "failed":
                    break
        assert "RILLFLOW_FOLDERS allows the workspace" in shown["state_reason"]
        assert shown["fired"] == 0


async def test_a_package_that_cannot_be_loaded_keeps_no_other_from_being_used() -> None:
    assert [each.name for each in installed_trigger_types()] == ["folder"]


async def test_a_folder_that_is_gone_is_the_state_of_the_trigger(folder: Path) -> None:
    async with served() as api:
        await api.add(PASS)
        gone = folder / "gone"
        await api.post(f"{OURS}/add.json", new(folder, path=str(gone)))
        async with asyncio.timeout(LONG_S):
            while True:
                shown = await api.get(f"{OURS}/show.json", trigger_id="files")
                if shown["state"] == "failed":
                    break
        assert "gone" in shown["state_reason"]


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
async def test_notes_that_are_not_the_triggers_own_file_are_neither_read_nor_written(
    folder: Path, kind: str
) -> None:
    """Whoever puts files into the folder can compute the name of the notes."""
    types = importlib.import_module("rillflow_folder").FolderTriggers()
    settings = {"path": str(folder), "pattern": "*"}
    put(folder, "a.csv")
    first = types.open("files", settings)
    [event] = await first.take(())
    await first.acknowledge(event)
    [notes] = await asyncio.to_thread(lambda: [*folder.glob(".*")])
    assert notes.stat().st_mode & 0o777 == 0o600
    other = folder.parent / "authorized_keys"
    other.write_text("kept\n")
    notes.unlink()
    if kind == "link":
        notes.symlink_to(other)
    elif kind == "hard link":
        notes.hardlink_to(other)
    else:
        os.mkfifo(notes)
    with pytest.raises(OSError, match=re.escape(notes.name)):
        await types.open("files", settings).take(())
    with pytest.raises(OSError, match=re.escape(notes.name)):
        await first.acknowledge(event)
    assert other.read_text() == "kept\n"


async def test_a_file_whose_name_has_several_lines_is_noted_once(folder: Path) -> None:
    types = importlib.import_module("rillflow_folder").FolderTriggers()
    settings = {"path": str(folder), "pattern": "*"}
    put(folder, "a\nb.csv")
    first = types.open("files", settings)
    [event] = await first.take(())
    await first.acknowledge(event)
    assert not await types.open("files", settings).take(())
