"""The entry points of installed packages, which plugins are found by.

To find them, Python reads the metadata of every installed package. That is done once for each group
in a process.

Used by `gateways/plugins/loading.py`, `gateways/plugins/trigger_types.py` and
`unknown_settings.py`.
"""

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def entry_points_of(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, in the order of their names."""
    return _found(group, tuple(sys.path))


@lru_cache(maxsize=4)
def _found(group: str, _: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return those of the folders on the path; after a change of it there may be other ones."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: entry.name))
