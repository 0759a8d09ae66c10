"""What the store of artifacts calls executions and workspaces.

Used by `artifacts/store.py`.
"""

import hashlib
from typing import NamedTuple


class User(NamedTuple):
    """An execution, with the hashes of its workspace and of those above it."""

    workspaces: tuple[str, ...]
    number: str

    @property
    def name(self) -> str:
        """What its marks are called."""
        return f"{self.workspaces[0]}-{self.number}"

    @property
    def marks(self) -> list[str]:
        """Its own mark, and those for the workspaces above it."""
        return [f"{workspace}-{self.number}" for workspace in self.workspaces]

    def has(self, path: str) -> bool:
        """Tell whether a mark is one of its own."""
        return path.endswith(f"-{self.number}")


def user_of(execution: str) -> User:
    """Return what the name of an execution says."""
    workspaces, _, number = execution.rpartition("-")
    return User(tuple(workspaces.split("+")), number)


def hashed(text: str, size: int) -> str:
    """Return a hash of an id or a workspace, of so many bytes in hexadecimal digits."""
    given = text.encode(errors="replace")
    return hashlib.blake2b(given, digest_size=size, person=b"artifacts").hexdigest()
