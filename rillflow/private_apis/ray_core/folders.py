"""A patch of Ray that keeps the folders of a session private to their user.

Ray opens the folders that it makes to everybody, again with each worker that starts, so that users
of one machine can share them (seen in 2.60). A stack belongs to one user.

Used by `serve/stack/local_ray.py`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ray._common import utils

from rillflow.private_apis.assumption import Assumption, not_in_source, other_parameters

_opens: Final = utils.try_make_directory_shared


def keep_closed() -> None:
    """Patch this process; doing it again changes nothing."""
    utils.try_make_directory_shared = _leave


def _leave(directory_path: str) -> None:
    del directory_path


def close_below(*tops: Path) -> None:
    """Close folders, and those in them, that unpatched processes have opened."""
    for top in tops:
        for folder in (top, *(each for each in top.rglob("*") if each.is_dir())):
            folder.chmod(0o700)


def _differences() -> Iterator[str]:
    yield from other_parameters(_opens, "directory_path")
    yield from not_in_source(_opens, "chmod")


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="ray._common.utils.try_make_directory_shared(directory_path) opens the folders"
        " of a session to every user of the machine",
        seen_with="2.60.0",
        if_it_changes="silent: folders of a session are open to other users"
        " (tests/cluster/test_closed.py looks at all folders of a stack)",
        differences=_differences,
    ),
)
