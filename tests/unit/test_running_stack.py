"""Commands ask the stack that runs on the data folder, whatever port it listens at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rillflow.cli.running_stack import running_stack
from rillflow.settings import STACK_NOTE
from serve.stack.data_folder import DataFolder
from tests.unit.commands import run, stand_in
from tests.unit.test_cli_cluster import CLUSTER, actor, state


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataFolder]:
    """The data folder of a stack that runs, and of the commands of this process."""
    monkeypatch.delenv("RILLFLOW_URL", raising=False)
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path / "data"))
    folder = DataFolder(tmp_path / "data", run_root=tmp_path)
    folder.lock()
    yield folder
    folder.release()


def noted(folder: DataFolder, **facts: Any) -> str | None:
    """Return where the stack is found whose note has these facts."""
    folder.note(**facts)
    (folder.path / STACK_NOTE).chmod(0o600)
    return running_stack(folder.path)


def test_commands_without_an_address_ask_the_stack_of_the_data_folder(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in(**{CLUSTER: state(actor("rillflow:dispatcher:0"))}) as (url, requests):
        assert noted(folder, url=url) == url
        code, printed, told = run("cluster", "status")
        assert (code, told) == (0, "")
        assert printed.splitlines()[-1] == "everything runs as wanted"
        assert len(requests) == 1
        for wrong in ("status", "list"):
            run(wrong)
        elsewhere = "http://127.0.0.1:1"
        code, _, told = run("cluster", "status", "--url", elsewhere)
        assert (code, elsewhere in told) == (1, True)
        monkeypatch.setenv("RILLFLOW_URL", elsewhere)
        code, _, told = run("cluster", "status")
        assert (code, elsewhere in told) == (1, True)
        assert len(requests) == 1


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("http://127.0.0.1:9123", "http://127.0.0.1:9123"),
        ("http://0.0.0.0:9123", "http://127.0.0.1:9123"),
        ("http://[::]:9123", "http://[::1]:9123"),
        ("https://localhost:9123", "https://localhost:9123"),
        ("http://127.0.0.1:9123@example.org:80", None),
        ("http://example.org:9123", None),
        ("http://192.0.2.1:9123", None),
        ("http://127.0.0.1", None),
        ("http://127.0.0.1:x", None),
        (7, None),
    ],
)
def test_only_an_address_of_this_machine_is_believed(
    folder: DataFolder, told: Any, found: str | None
) -> None:
    assert noted(folder, url=told) == found


def test_a_note_that_others_can_write_or_that_leads_elsewhere_is_not_believed(
    folder: DataFolder, tmp_path: Path
) -> None:
    note = folder.path / STACK_NOTE
    assert noted(folder, url="http://127.0.0.1:9123") is not None
    note.chmod(0o620)
    assert running_stack(folder.path) is None
    note.chmod(0o600)
    note.rename(tmp_path / "elsewhere")
    note.symlink_to(tmp_path / "elsewhere")
    assert running_stack(folder.path) is None
    note.unlink()
    assert running_stack(folder.path) is None


def test_the_note_of_a_stack_that_was_killed_is_not_believed(folder: DataFolder) -> None:
    assert noted(folder, url="http://127.0.0.1:9123") is not None
    left = (folder.path / STACK_NOTE).read_bytes()
    folder.release()
    (folder.path / STACK_NOTE).write_bytes(left)
    (folder.path / STACK_NOTE).chmod(0o600)
    assert running_stack(folder.path) is None
