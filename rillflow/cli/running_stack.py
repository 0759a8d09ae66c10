"""Where the stack of this data folder listens, so that commands without an address ask it.

The note in the data folder tells it. It is believed if only this user can write it, if its process
holds the lock of the folder, and if it names this machine: commands send keys there.

Used by `cli/remote.py`.
"""

from pathlib import Path
from urllib.parse import urlsplit

from rillflow.local_keys import EVERYWHERE, read_stack_note
from rillflow.settings import STACK_LOCK, is_loopback


def running_stack(data_dir: Path) -> str | None:
    """Return the base URL of the stack that runs on a data folder; None if none is known."""
    try:
        note = read_stack_note(data_dir)
        url, pid = note["url"], note["pid"]
        if not isinstance(url, str) or not isinstance(pid, int):
            return None
        if not _is_locked(data_dir / STACK_LOCK, pid):
            return None
        named = urlsplit(url)
        host, port = named.hostname or "", named.port
    except (OSError, ValueError, KeyError):
        return None
    here = EVERYWHERE.get(host, host)
    if port is None or not is_loopback(here):
        return None
    return f"{named.scheme}://{f'[{here}]' if ':' in here else here}:{port}"


def _is_locked(path: Path, pid: int) -> bool:
    """Tell whether a process holds a file's lock; to try would keep a stack from starting.

    Raises:
        OSError: There is no such file, or this system does not tell.
    """
    place = f":{path.stat(follow_symlinks=False).st_ino}"
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[1:5] == ["FLOCK", "ADVISORY", "WRITE", str(pid)] and words[5].endswith(place):
            return True
    return False
