"""The certificate by which what belongs to a Ray is known, where Ray encrypts its calls.

The Ray of ``rillflow up`` has one in the folder of its run, and scripts of the same user find it
there by Ray's address. ``rillflow cluster certificates`` makes those of a cluster.

Used by `client/ray_transport/encryption.py` and `serve/stack`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

RUN_ROOT: Final = Path("/tmp")  # noqa: S108 - folders in it are made by mkdtemp
RUN_PREFIX: Final = "rf-"
"""Of the folders of runs, which only their user can enter."""
FOLDER: Final = "tls"
"""Folder of a run for its certificate."""
AUTHORITY: Final = "ca.pem"
AUTHORITY_KEY: Final = "ca.key"
CERTIFICATE: Final = "node.pem"
KEY: Final = "node.key"
USE_TLS: Final = "RAY_USE_TLS"
_FILES: Final = {
    "RAY_TLS_SERVER_CERT": CERTIFICATE,
    "RAY_TLS_SERVER_KEY": KEY,
    "RAY_TLS_CA_CERT": AUTHORITY,
}
_PORT: Final = "port"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_OTHERS: Final = 0o077


def variables(folder: Path) -> Mapping[str, str]:
    """Return the environment variables by which Ray encrypts, with the certificate of a folder."""
    return {USE_TLS: "1", **{name: str(folder / file) for name, file in _FILES.items()}}


def machine_folder() -> Path:
    """Return where the certificate of this machine lies, beside the token of Ray."""
    return Path.home() / ".ray" / FOLDER


def note_port(folder: Path, address: str) -> None:
    """Note beside a certificate at which port of this machine the Ray is that it is for."""
    (folder / _PORT).write_text(address.rpartition(":")[2], encoding="ascii")


def variables_for(
    address: str, root: Path = RUN_ROOT, user: int | None = None
) -> Mapping[str, str]:
    """Return the variables with which a script joins a Ray of ``rillflow up`` of the same user.

    They are empty for a Ray that does not encrypt, or that is none of these. Folders of other users
    are not believed: who joined with their certificate would tell them the token. ``user`` is the
    number of the user; None is that of this process.
    """
    host, _, port = address.rpartition(":")
    if host.strip("[]").lower() not in _LOOPBACK:
        return {}
    user = os.geteuid() if user is None else user
    found = (each for each in _own_folders(root, user) if _noted_port(each) == port)
    folder = next(found, None)
    return {} if folder is None else variables(folder)


def is_of_run(environment: Mapping[str, str], root: Path = RUN_ROOT) -> bool:
    """Tell whether an environment has the variables of a run, and not those of an operator."""
    named = Path(environment.get("RAY_TLS_CA_CERT", "")).parent
    run = named.parent
    return named.name == FOLDER and run.parent == root and run.name.startswith(RUN_PREFIX)


def _own_folders(root: Path, user: int) -> Iterator[Path]:
    for run in root.glob(f"{RUN_PREFIX}*"):
        try:
            found = run.lstat()
        except OSError:
            continue
        is_closed = stat.S_ISDIR(found.st_mode) and not found.st_mode & _OTHERS
        if is_closed and found.st_uid == user:
            yield run / FOLDER


def _noted_port(folder: Path) -> str:
    try:
        return (folder / _PORT).read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return ""
