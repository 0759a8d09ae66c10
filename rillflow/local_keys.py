"""The API key that ``rillflow up --key`` makes, and how programs of the same user find it.

The key is a file of the data folder. While the stack runs, a file below the user's state folder
tells for its port where that is and which process serves; both can be read by the user only. A
key is found for addresses of loopback only, and only while that process lives, so that whoever
listens on the port later is not sent it.

Keys that a person has chosen may be short; here it is told which can be guessed.

Used by `cli/commands/serving.py`, `cli/doctor`, `client/http_transport/transport.py` and `serve`.
"""

import contextlib
import errno
import os
import secrets
import stat
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

from rillflow.errors import StackError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.settings import STACK_NOTE, Settings, is_loopback
from rillflow.stores.private_files import close_file_to_others, make_private_folder

KEY_FILE: Final = "api-key"
PAGE_FILE: Final = "open.html"
KEY_BYTES: Final = 32
DRAFT_BYTES: Final = 8
"""Random bytes in the name of a file that is being written."""
LEAST_CHARACTERS: Final = 16
"""A key of fewer characters can be guessed."""
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
LONGEST: Final = 64 * 1024
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

_PAGE: Final = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>Rillflow</title>
<meta http-equiv="refresh" content="0; url={address}">
<a href="{address}">Open Rillflow</a>
"""


class LocalKey(NamedTuple):
    """A key, and the address at which the stack that wants it listens."""

    key: str
    host: str


def guessable_keys(settings: Settings) -> dict[str, str]:
    """Return the settings whose keys can be guessed, with a sentence about each.

    Wrong keys are answered as fast as they come, and a seal of a callback address can be tried
    without the server.
    """
    api_keys = () if settings.api_key is None else (settings.api_key,)
    given = {
        "api_key": [key.get_secret_value() for key in api_keys],
        "callback_keys": [key.get_secret_value() for key in settings.callback_keys],
        "auth_secret": [settings.auth_secret] if settings.auth_secret else [],
    }
    return {
        name: f"{name} (RILLFLOW_{name.upper()}) can be guessed: take {LEAST_CHARACTERS} characters"
        " or more, such as openssl rand -hex 16 prints"
        for name, keys in given.items()
        if any(len(key) < LEAST_CHARACTERS for key in keys)
    }


def kept_key(data_dir: Path) -> str:
    """Return the key of a data folder, made if there is none.

    Raises:
        StackError: It cannot be made or read.
    """
    path = data_dir / KEY_FILE
    try:
        make_private_folder(data_dir)
        if not path.exists() and not path.is_symlink():
            # Linked when it is whole, so that a file without a key is never left behind.
            draft = data_dir / f"{KEY_FILE}.{secrets.token_hex(DRAFT_BYTES)}"
            try:
                _write(draft, f"{secrets.token_urlsafe(KEY_BYTES)}\n".encode())
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(draft)
            finally:
                draft.unlink(missing_ok=True)
        close_file_to_others(path)
        key = read_own(path).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise StackError(f"the key {path} cannot be made or read: {error}") from error
    if not key:
        raise StackError(f"the key {path} is empty; remove the file, and a new one is made")
    return key


class Announcement:
    """Tells programs of this user that this process serves a stack with a kept key."""

    def __init__(
        self, data_dir: Path, host: str, port: int, key: str, *, scheme: str = "http"
    ) -> None:
        self.page = data_dir.resolve() / PAGE_FILE
        self._note = _notes_dir() / f"{port}.json"
        self._content = {
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "host": host,
            "data_dir": str(data_dir.resolve()),
        }
        shown = EVERYWHERE.get(host, host)
        authority = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
        self._address = f"{scheme}://{authority}/console#key={key}"

    def make(self) -> None:
        """Write the note, and a page that opens the server's with the key.

        The stack must listen by then, or somebody else might get the key.

        Raises:
            StackError: They cannot be written.
        """
        try:
            self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self._note, self.page):
                remove_drafts(path)
            replace_own(self._note, encode_json(self._content))
            replace_own(self.page, _PAGE.format(address=escape(self._address)).encode())
        except OSError as error:
            raise StackError(self.why_not_made(error)) from error

    def why_not_made(self, error: OSError) -> str:
        """Return a sentence about why they cannot be written."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            folders = f"{self.page.parent} or {self._note.parent}"
            return f"the disk of {folders} is full; make room there, and start again"
        return f"programs here would not find the key: {error}"

    def withdraw(self) -> None:
        """Remove both, unless another stack has come since."""
        with contextlib.suppress(OSError, ValueError):
            if decode_json(read_own(self._note)) == self._content:
                self._note.unlink()
        with contextlib.suppress(OSError):
            self.page.unlink()


def find_key(host: str, port: int) -> LocalKey | None:
    """Return the key of the stack that listens on a port of this machine, if it has kept one.

    Args:
        host: As in the address that is about to be called.
        port: The same.
    """
    if not is_loopback(host):
        return None
    try:
        note: Any = decode_json(read_own(_notes_dir() / f"{port}.json"))
        listens_on, pid, data_dir = str(note["host"]), int(note["pid"]), Path(note["data_dir"])
        if note["started"] != _started(pid):
            return None
        key = read_own(data_dir / KEY_FILE).decode("ascii").strip()
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    called = EVERYWHERE.get(listens_on, listens_on) if host == "localhost" else host
    if not key or not is_loopback(called) or listens_on not in (called, *EVERYWHERE):
        return None
    return LocalKey(key, called)


def _notes_dir() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "rillflow" / "stacks"


def _started(pid: int) -> str:
    """Return when a process of this user started, in ticks since the machine did.

    Raises:
        OSError: There is no such process of this user.
    """
    place = Path(f"/proc/{pid}/stat")
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"process {pid} is somebody else's")
    # Field 22, counted after the name, which may hold blanks.
    return place.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]


def read_stack_note(data_dir: Path) -> dict[str, Any]:
    """Return what the stack on a data folder has noted; empty if nobody or another user has.

    Who writes a note names the Ray that programs join, and variables for a shell.
    """
    try:
        found = decode_json(read_own(data_dir / STACK_NOTE, of_others=OTHERS_WRITE))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_own(path: Path, *, of_others: int = 0o077) -> bytes:
    """Read the first 64 KiB of a file of this user.

    Args:
        path: The file's.
        of_others: What nobody else may do with it, as bits of its mode: read or write it.

    Raises:
        OSError: It is none, or there is none.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        is_ours = facts.st_uid == os.getuid() and not facts.st_mode & of_others
        if not is_ours or not stat.S_ISREG(facts.st_mode):
            raise PermissionError(f"{path} is not this user's alone")
        return file.read(LONGEST)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_own(path: Path, content: bytes) -> None:
    """Replace what lies at a path by a file that only this user may read and write.

    Raises:
        OSError: It cannot be written.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(DRAFT_BYTES)}")
    try:
        _write(draft, content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def remove_drafts(path: Path) -> None:
    """Remove what starts have left that died while they wrote a file."""
    for draft in path.parent.glob(f"{path.name}.{'[0-9a-f]' * (2 * DRAFT_BYTES)}"):
        draft.unlink(missing_ok=True)
