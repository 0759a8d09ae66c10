"""Whether other users can change a file or a folder, by its owner and its mode.

The superuser can do so anyway. A group may write where it is the user's own, which is how many
systems make their users: each one has a group, and files are made for both (umask 002).

Used by `cli`, `serve/stack/foreign_connections.py`, `stores/private_files.py` and
`trusted_files/settings_file.py`.
"""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

SUPERUSER: Final = 0
_NOBODY_KNOWN: Final = -1
"""In place of the number of a user of whom only the name is known."""


class Group(NamedTuple):
    """What the system knows of a group: its members by their numbers, and whether it has a name.

    ``is_joined`` is whether this process is in it.
    """

    members: frozenset[int]
    is_named: bool
    is_joined: bool


def why_not_private(
    found: os.stat_result, user: int, group_of: "Callable[[int], Group] | None" = None
) -> str:
    """Return why others can change a file, or replace what lies in a folder; empty if they cannot.

    Args:
        found: The owner and the mode of the file or folder.
        user: The number of the user who is to rely on it.
        group_of: Returns what is known of a group; None asks the system.
    """
    within = " in" if stat.S_ISDIR(found.st_mode) else ""
    if found.st_uid not in (user, SUPERUSER):
        harm = ", who can replace what lies in it" if within else ""
        return f"it belongs to another user (uid {found.st_uid}){harm}"
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may write{within} it; forbid it by chmod o-w"
    if found.st_mode & stat.S_IWGRP and not _is_own(found.st_gid, user, group_of or known_group):
        return (
            f"its group (gid {found.st_gid}), which is not this user's alone, may write{within} it;"
            " forbid it by chmod g-w"
        )
    return ""


def why_movable(path: Path, user: int) -> str:
    """Return why others can put another folder in the place of one; empty if they cannot.

    Args:
        path: The folder, which need not exist.
        user: The number of the user who is to rely on it.

    Raises:
        OSError: A folder above it cannot be looked at.
    """
    for folder in path.resolve().parents:
        if folder.exists() and (reason := why_not_kept(folder.stat(), user)):
            return f"{folder} is above it; {reason}"
    return ""


def why_not_kept(folder: os.stat_result, user: int) -> str:
    """Return why others can replace what a user has in a folder; empty if they cannot.

    In a folder with the sticky bit, such as ``/tmp``, everybody moves and removes his own only.
    """
    if folder.st_mode & stat.S_ISVTX and folder.st_uid in (user, SUPERUSER):
        return ""
    return why_not_private(folder, user)


def known_group(gid: int) -> Group:
    """Return what the system knows of a group."""
    members = {each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid}
    is_joined = gid in (os.getegid(), *os.getgroups())
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return Group(frozenset(members), is_named=False, is_joined=is_joined)
    members.update(map(_number_of, group.gr_mem))
    if not members:
        # Users of a directory service are in no list; a group for one of them has the same name.
        members.update(_only_user(group.gr_name, gid))
    return Group(frozenset(members), is_named=True, is_joined=is_joined)


def _is_own(gid: int, user: int, group_of: Callable[[int], Group]) -> bool:
    """Tell whether a group is a user's alone, as far as the system knows its members.

    Files of containers often belong to the group of the superuser (OpenShift), or to one that the
    container was given and that has no name in it (``fsGroup`` of Kubernetes).
    """
    if gid == SUPERUSER:
        return True
    group = group_of(gid)
    if group.members or group.is_named:
        return bool(group.members) and group.members <= {user, SUPERUSER}
    return group.is_joined


def _number_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return _NOBODY_KNOWN


def _only_user(name: str, gid: int) -> set[int]:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return set()
    return {found.pw_uid} if found.pw_gid == gid else set()
