"""A mended Ray: the folders of a session stay their owner's.

Ray opens the folders that it makes to everybody, again with each worker that starts, so that
users of one machine can share them (seen in 2.60). A stack is one user's.
"""

from pathlib import Path

from ray._common import utils


def keep_closed() -> None:
    """Mend this process; doing it again changes nothing."""
    utils.try_make_directory_shared = _leave


def _leave(directory_path: str) -> None:
    del directory_path


def close_below(*tops: Path) -> None:
    """Close folders, and those in them, that processes which are not mended have opened."""
    for top in tops:
        for folder in (top, *(each for each in top.rglob("*") if each.is_dir())):
            folder.chmod(0o700)
