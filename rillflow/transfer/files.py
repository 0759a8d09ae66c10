"""The file of an export on disk: for its owner only, and under its name once it is whole.

Used by `cli/commands`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from rillflow.errors import StoreError
from rillflow.stores.private_files import PRIVATE

_DRAFT: Final = ".partial"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that gets its name once it is complete and on disk.

    Raises:
        StoreError: There is one of this name.
        OSError: It cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise StoreError(f"{path} exists already: choose another name, or move it away")
    draft = path.with_name(path.name + _DRAFT)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()
