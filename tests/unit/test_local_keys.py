"""The key of ``rillflow up --key`` is found by its user's programs here, and by nobody else."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from rillflow.client.http_transport.transport import (
    KEY_HEADER,
    KEY_VARIABLE,
    AsyncHttpTransport,
    HttpTransport,
)
from rillflow.errors import StackError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.local_keys import KEY_FILE, Announcement, find_key, guessable_keys, kept_key
from rillflow.settings import Settings

PORT: Final = 18_080
NOTE: Final = Path("rillflow/stacks") / f"{PORT}.json"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state folder of the test's own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return folder


def announced(tmp_path: Path, host: str = "127.0.0.1") -> tuple[Announcement, str]:
    key = kept_key(tmp_path / "data")
    announcement = Announcement(tmp_path / "data", host, PORT, key)
    announcement.make()
    return announcement, key


def key_sent(url: str) -> str | None:
    transport = HttpTransport(url, timeout_s=1)
    try:
        found = transport._http.headers.get(KEY_HEADER)
        return None if found is None else str(found)
    finally:
        transport.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    key = kept_key(data)
    assert len(key) >= 43
    assert key.isascii()
    assert kept_key(data) == key
    assert kept_key(tmp_path / "other") != key
    assert mode_of(data / KEY_FILE) == 0o600
    assert mode_of(data) == 0o700
    assert [path.name for path in data.iterdir()] == [KEY_FILE]
    (data / KEY_FILE).chmod(0o644)
    assert kept_key(data) == key
    assert mode_of(data / KEY_FILE) == 0o600


def test_a_link_in_place_of_the_key_is_refused_and_what_it_leads_to_is_let_be(
    tmp_path: Path,
) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.write_text("mine\n", encoding="ascii")
    elsewhere.chmod(0o644)
    for target in (elsewhere, tmp_path / "missing"):
        (data / KEY_FILE).symlink_to(target)
        with pytest.raises(StackError, match="cannot be made or read"):
            kept_key(data)
        (data / KEY_FILE).unlink()
    assert mode_of(elsewhere) == 0o644
    assert not (tmp_path / "missing").exists()
    assert [path.name for path in data.iterdir()] == []


def test_a_key_is_not_kept_where_everybody_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StackError, match=r"everybody may write in it; forbid it by chmod o-w"):
        kept_key(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text(" \n", encoding="ascii")
    with pytest.raises(StackError, match="is empty; remove the file"):
        kept_key(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be made or read"):
        kept_key(tmp_path / "file")


def test_programs_find_the_key_while_the_stack_runs(tmp_path: Path, state: Path) -> None:
    assert key_sent(f"http://127.0.0.1:{PORT}") is None
    announcement, key = announced(tmp_path)
    for host in ("127.0.0.1", "localhost"):
        assert key_sent(f"http://{host}:{PORT}") == key
    for path in (state / NOTE, announcement.page):
        assert mode_of(path) == 0o600
    assert mode_of((state / NOTE).parent) == 0o700
    assert key not in (state / NOTE).read_text(encoding="utf-8")
    assert f"http://127.0.0.1:{PORT}/console#key={key}" in announcement.page.read_text("utf-8")
    announcement.withdraw()
    assert key_sent(f"http://127.0.0.1:{PORT}") is None
    assert not announcement.page.exists()
    announcement.withdraw()


async def test_asynchronous_clients_find_it_too(tmp_path: Path) -> None:
    _, key = announced(tmp_path)
    transport = AsyncHttpTransport(f"http://localhost:{PORT}/", timeout_s=1)
    assert transport._http.headers[KEY_HEADER] == key
    assert transport._http.base_url.host == "127.0.0.1"
    await transport.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:18081",
        "http://127.0.0.2:{port}",
        "http://[::1]:{port}",
        "https://127.0.0.1:{port}",
        "http://192.0.2.1:{port}",
        "http://example.com:{port}",
        "http://localhost.example.com:{port}",
        "http://127.0.0.1.example.com:{port}",
        "http://127.0.0.1@example.com:{port}",
    ],
)
def test_the_key_goes_nowhere_else(tmp_path: Path, url: str) -> None:
    announced(tmp_path)
    assert key_sent(url.replace("{port}", str(PORT))) is None


@pytest.mark.parametrize(
    ("listens_on", "called", "found_at"),
    [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "localhost", "127.0.0.1"),
        ("::", "::1", "::1"),
        ("::", "localhost", "::1"),
        ("::1", "localhost", "::1"),
        ("::1", "127.0.0.1", None),
        ("192.0.2.1", "localhost", None),
        ("192.0.2.1", "127.0.0.1", None),
        ("0.0.0.0", "192.0.2.1", None),
    ],
)
def test_it_is_sent_where_the_stack_listens(
    tmp_path: Path, listens_on: str, called: str, found_at: str | None
) -> None:
    _, key = announced(tmp_path, listens_on)
    found = find_key(called, PORT)
    assert (found and (found.key, found.host)) == (found_at and (key, found_at))


def test_an_explicit_key_and_the_environment_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = announced(tmp_path)
    url = f"http://127.0.0.1:{PORT}"
    for given, sent in (("mine", "mine"), ("", None), (None, key)):
        transport = HttpTransport(url, timeout_s=1, api_key=given)
        assert transport._http.headers.get(KEY_HEADER) == sent
        transport.close()
    monkeypatch.setenv(KEY_VARIABLE, "the environment's")
    assert key_sent(url) == "the environment's"
    monkeypatch.setenv(KEY_VARIABLE, " ")
    assert key_sent(url) == key


def test_a_stack_that_was_killed_gets_nothing_sent_to_whoever_came_after(
    tmp_path: Path, state: Path
) -> None:
    program = (
        "from pathlib import Path; from rillflow.local_keys import *;"
        f"path = Path({str(tmp_path / 'data')!r});"
        f"Announcement(path, '127.0.0.1', {PORT}, kept_key(path)).make()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - ours
    assert (state / NOTE).exists()
    assert find_key("127.0.0.1", PORT) is None
    note = decode_json((state / NOTE).read_bytes())
    assert isinstance(note, dict)
    (state / NOTE).write_bytes(encode_json({**note, "pid": os.getpid()}))  # a pid that came back
    assert find_key("127.0.0.1", PORT) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"pid":"x"}', b"{", b"\xff" * 99])
def test_what_is_no_note_is_none(tmp_path: Path, state: Path, content: bytes) -> None:
    announced(tmp_path)
    (state / NOTE).write_bytes(content)
    assert find_key("127.0.0.1", PORT) is None


def test_files_that_others_can_read_or_that_lead_elsewhere_are_not_believed(
    tmp_path: Path, state: Path
) -> None:
    announced(tmp_path)
    for path in (state / NOTE, tmp_path / "data" / KEY_FILE):
        path.chmod(0o640)
        assert find_key("127.0.0.1", PORT) is None
        path.chmod(0o600)
        assert find_key("127.0.0.1", PORT) is not None
        moved = path.rename(tmp_path / path.name)
        path.symlink_to(moved)
        assert find_key("127.0.0.1", PORT) is None
        path.unlink()
        moved.rename(path)


def test_one_that_starts_again_announces_itself_anew(tmp_path: Path) -> None:
    first, key = announced(tmp_path)
    second, _ = announced(tmp_path / "other", "0.0.0.0")
    first.withdraw()
    found = find_key("127.0.0.1", PORT)
    assert found is not None
    assert found.key != key
    second.withdraw()
    assert find_key("127.0.0.1", PORT) is None


def test_no_message_shows_the_key(tmp_path: Path) -> None:
    _, key = announced(tmp_path)
    transport = HttpTransport(f"http://127.0.0.1:{PORT}", timeout_s=1)
    assert key not in f"{vars(transport)!r}"
    assert isinstance(transport._http, httpx.Client)
    transport.close()


def test_a_key_of_few_characters_can_be_guessed_and_the_message_does_not_repeat_it() -> None:
    short, long = "abcdefghijklmno", "abcdefghijklmnop"
    assert guessable_keys(Settings()) == {}
    assert guessable_keys(Settings(api_key=long, callback_keys=(long,), auth_secret=long)) == {}
    told = guessable_keys(Settings(api_key=short, callback_keys=(long, short), auth_secret=short))
    assert list(told) == ["api_key", "callback_keys", "auth_secret"]
    assert short not in str(told)


def test_drafts_of_starts_that_have_died_are_removed(tmp_path: Path, state: Path) -> None:
    data = tmp_path / "data"
    announced(tmp_path)
    left = [data / f"open.html.{'0a' * 8}", state / f"{NOTE}.{'0a' * 8}"]
    kept = [data / "open.html.mine", data / "notes", data / KEY_FILE]
    for path in (*left, *kept[:2]):
        path.touch()
    announced(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_what_cannot_be_written_is_told_and_leaves_no_drafts(tmp_path: Path) -> None:
    announcement, _ = announced(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StackError, match=r"would not find the key: .*too large"):
            announcement.make()
        with pytest.raises(StackError, match="cannot be made"):
            kept_key(tmp_path / "other")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "other"])
    full = announcement.why_not_made(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert full.endswith("is full; make room there, and start again")
