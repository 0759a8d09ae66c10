"""What another user can change is not believed: settings, notes of stacks, files of a store."""

import os
import stat
from pathlib import Path
from typing import Final

import pytest

from rillflow.cli.commands.serving import _warn
from rillflow.client.ray_transport.driver import address_here, is_running
from rillflow.errors import StackError, StoreError
from rillflow.jsontypes import encode_json
from rillflow.local_keys import read_stack_note
from rillflow.settings import STACK_NOTE, Settings
from rillflow.stores import open_store
from rillflow.stores.private_files import why_foreign
from rillflow.trusted_files.owners import (
    SUPERUSER,
    Group,
    known_group,
    why_movable,
    why_not_kept,
    why_not_private,
)
from rillflow.trusted_files.settings_file import FILE, VARIABLE, why_not_trusted
from serve.stack.data_folder import DataFolder
from tests.unit.commands import run

USER: Final = 1000
ANOTHER: Final = 1001
GROUP: Final = 2000
REFUSED: Final = "is not read: everybody may write it; forbid it by chmod o-w"


def facts(
    mode: int, uid: int = USER, *, kind: int = stat.S_IFDIR, gid: int = GROUP
) -> os.stat_result:
    return os.stat_result((kind | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


def of_members(*members: int, is_named: bool = True, is_joined: bool = False) -> Group:
    return Group(frozenset(members), is_named=is_named, is_joined=is_joined)


@pytest.fixture(name="file")
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    tmp_path.chmod(0o755)
    file = tmp_path / FILE
    file.write_text("port = 9123\n", encoding="utf-8")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize(
    ("group", "is_own"),
    [
        (of_members(USER), True),
        (of_members(USER, SUPERUSER), True),
        (of_members(USER, ANOTHER), False),
        (of_members(ANOTHER), False),
        (of_members(), False),  # as nogroup, or one whose users are in no list
        (of_members(is_named=False, is_joined=True), True),  # as fsGroup of Kubernetes
        (of_members(is_named=False), False),
        (of_members(ANOTHER, is_named=False, is_joined=True), False),
    ],
)
def test_a_group_may_write_if_it_is_the_users_own(group: Group, *, is_own: bool) -> None:
    for kind, told in ((stat.S_IFDIR, "may write in it; forbid"), (stat.S_IFREG, "may write it;")):
        reason = why_not_private(facts(0o775, kind=kind), USER, lambda _: group)
        assert (told in reason, reason == "") == (not is_own, is_own)
        assert why_not_private(facts(0o755, kind=kind), USER, lambda _: group) == ""


def test_the_group_of_the_superuser_may_write_and_everybody_may_not() -> None:
    nobody = of_members()
    assert why_not_private(facts(0o775, gid=0), USER, lambda _: nobody) == ""
    assert "everybody may write in it" in why_not_private(facts(0o777, gid=0), USER)
    assert "belongs to another user" in why_not_private(facts(0o755, ANOTHER), SUPERUSER)


def test_the_system_is_asked_for_the_members_of_a_group() -> None:
    found = known_group(0)
    assert SUPERUSER in found.members
    assert found.is_named
    unknown = known_group(2**31 - 7)
    assert unknown == of_members(is_named=False)
    assert known_group(os.getegid()).is_joined


def test_in_a_folder_with_the_sticky_bit_everybody_moves_his_own_only() -> None:
    assert why_not_kept(facts(0o1777, SUPERUSER), USER) == ""
    assert why_not_kept(facts(0o1777), USER) == ""
    assert "belongs to another user" in why_not_kept(facts(0o1777, ANOTHER), USER)
    assert "everybody may write in it" in why_not_kept(facts(0o777), USER)


def test_a_file_of_settings_that_others_can_change_is_read_by_no_command(file: Path) -> None:
    assert Settings().port == 9123
    file.chmod(0o666)
    for command in (
        ("up", "--port", "0"),
        ("db", "status"),
        ("list",),
        ("logs",),
        ("cluster", "environment"),
    ):
        code, printed, told = run(*command)
        assert (code, printed) == (1, ""), command
        assert f"error: {FILE} in {file.parent} {REFUSED}" in told, command
        assert "Traceback" not in told
    _, printed, _ = run("doctor")
    assert REFUSED in " ".join(printed.split())
    with pytest.raises(StackError, match=REFUSED):
        address_here()
    with pytest.raises(StackError, match=REFUSED):
        Settings()
    file.chmod(0o600)
    assert Settings().port == 9123


def test_nor_one_in_a_folder_where_others_can_replace_it(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(StackError, match=r"of its folder .*, everybody may write in it"):
        Settings()
    file.parent.chmod(0o1777)
    assert Settings().port == 9123
    other = file.parent / "other"
    other.mkdir()
    moved = file.rename(other / FILE)
    file.symlink_to(moved)
    assert Settings().port == 9123
    other.chmod(0o777)
    with pytest.raises(StackError, match=r"of its folder .*/other, everybody may write in it"):
        Settings()


def test_one_of_another_user_is_not_read(file: Path) -> None:
    found, ours = facts(0o644, kind=stat.S_IFREG), os.geteuid()
    assert "belongs to another user (uid 1000)" in why_not_trusted(file, found, ANOTHER)
    mine = facts(0o644, ours, kind=stat.S_IFREG)
    assert why_not_trusted(file, mine, ours) == ""


def test_a_folder_that_is_mounted_read_only_is_written_by_nobody(file: Path) -> None:
    found, ours = file.stat(), os.geteuid()
    file.parent.chmod(0o777)
    assert why_not_trusted(file, found, ours, lambda _: True) == ""
    assert "everybody may write in it" in why_not_trusted(file, found, ours, lambda _: False)


def test_one_that_is_named_is_taken_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o666)
    monkeypatch.setenv(VARIABLE, str(file))
    assert Settings().port == 9123
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(StackError, match="name it by RILLFLOW_SETTINGS_FILE="):
        Settings()
    for named, reason in ((file.parent / "none", "No such file"), (file.parent, "no ordinary")):
        monkeypatch.setenv(VARIABLE, str(named))
        with pytest.raises(StackError, match=f"{named} cannot be read: .*{reason}"):
            Settings()


def test_without_a_file_there_are_the_defaults(file: Path) -> None:
    file.unlink()
    assert Settings().port == 8080
    file.mkdir()
    assert Settings().port == 8080


def test_a_note_of_a_stack_that_others_can_write_is_not_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file.parent / "data"
    data.mkdir(mode=0o755)
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(data))
    note = data / STACK_NOTE
    told = {"pid": os.getpid(), "ray_address": "192.0.2.2:1", "ray_environment": {"RAY_A": "/"}}
    note.write_bytes(encode_json({**told, "logs_dir": str(data)}))
    note.chmod(0o600)
    assert address_here() == "192.0.2.2:1"
    assert run("cluster", "environment")[0] == 0
    assert run("logs")[0] == 0
    note.chmod(0o666)
    assert read_stack_note(data) == {}
    assert address_here() == "auto"
    assert run("cluster", "environment")[0] == 1
    assert run("logs")[0] == 1


def test_what_lies_in_the_data_folder_must_be_the_users_own(tmp_path: Path) -> None:
    ours = os.geteuid()
    file, link, folder = tmp_path / "file", tmp_path / "link", tmp_path / "folder"
    file.touch()
    folder.mkdir(mode=0o755)
    assert why_foreign(tmp_path / "none", ours) == ""
    for own in (file, folder):
        assert why_foreign(own, ours) == ""
    link.symlink_to(file)
    assert why_foreign(link, ours) == "it is a link; use the file itself"
    link.unlink()
    link.symlink_to(folder)
    assert why_foreign(link, ours) == ""
    folder.chmod(0o777)
    assert "everybody may write in it" in why_foreign(link, ours)


@pytest.mark.parametrize("name", ["lock", "logs", "artifacts"])
def test_a_data_folder_with_links_to_files_elsewhere_is_not_used(tmp_path: Path, name: str) -> None:
    folder, elsewhere = DataFolder(tmp_path / "data"), tmp_path / "elsewhere"
    elsewhere.write_text("mine", encoding="ascii")
    folder.path.mkdir(mode=0o700)
    (folder.path / name).symlink_to(elsewhere)
    with pytest.raises(StackError, match=f"cannot be used: {name} in it: it is a link; use"):
        folder.lock()
    folder.release()
    assert elsewhere.read_text(encoding="ascii") == "mine"


def test_a_stack_that_was_killed_is_no_process_that_another_user_has_started_since() -> None:
    pid, ours = os.getpid(), os.geteuid()
    assert is_running(pid)
    assert is_running(pid, ours)
    assert not is_running(pid, ours + 1)
    assert not is_running(0)
    assert not is_running(str(pid))


def test_a_note_that_was_not_finished_goes_with_the_next_one(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.lock()
    (folder.path / f"{STACK_NOTE}.{'a' * 16}").touch()
    folder.note(url="http://127.0.0.1:1")
    assert [each.name for each in folder.path.glob(f"{STACK_NOTE}*")] == [STACK_NOTE]
    folder.release()


def test_a_note_is_written_over_no_link(tmp_path: Path) -> None:
    folder, elsewhere = DataFolder(tmp_path / "data"), tmp_path / "elsewhere"
    folder.lock()
    for name in (STACK_NOTE, f"{STACK_NOTE}.new"):
        (folder.path / name).symlink_to(elsewhere)
    folder.note(url="http://127.0.0.1:1")
    assert not elsewhere.exists()
    assert stat.S_IMODE((folder.path / STACK_NOTE).stat().st_mode) == 0o600
    folder.release()


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", "-lock", "-write", "-write-turn"])
async def test_a_store_is_in_no_file_that_a_link_leads_to(tmp_path: Path, end: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    before = elsewhere.stat()
    link = tmp_path / f"rillflow.db{end}"
    link.symlink_to(elsewhere)
    store = open_store(f"sqlite://{tmp_path}/rillflow.db")
    with pytest.raises(StoreError, match=f"{link} is not used: it is a link; use the file itself"):
        await store.open()
    assert elsewhere.read_bytes() == b"mine"
    assert elsewhere.stat().st_mode == before.st_mode


def test_the_owner_of_the_folder_may_have_files_of_a_store_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    ours = os.geteuid()
    for user, owners in ((ours, ()), (ours + 1, (ours,))):
        assert why_foreign(tmp_path / "a.db", user, *owners) == ""


def test_folders_above_the_data_folder_that_others_can_move_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o755)
    settings = Settings(data_dir=above / "new" / "data")
    assert why_movable(settings.data_dir, os.geteuid()) == ""
    _warn(settings)
    assert "can be replaced" not in capsys.readouterr().err
    above.chmod(0o777)
    told = f"can be replaced: {above} is above it; everybody may write in it; forbid it by chmod"
    _warn(settings)
    assert told in capsys.readouterr().err
    above.chmod(0o1777)
    assert why_movable(settings.data_dir, os.geteuid()) == ""
