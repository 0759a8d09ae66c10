"""With which certificate a script joins a Ray that encrypts its calls.

Used by `client/ray_transport/driver.py` and `serve/stack/cluster_check.py`.
"""

import os
import socket
from typing import Final

from rillflow.client.ray_transport.addresses import CONNECT_S
from rillflow.errors import UnreachableError
from rillflow.private_apis.ray_core import joining
from rillflow.ray_certificates import (
    CERTIFICATE,
    USE_TLS,
    is_of_run,
    machine_folder,
    variables,
    variables_for,
)

HOW_TO_ENCRYPT: Final = (
    "scripts of who runs `rillflow up` find its certificate; on a machine of a cluster,"
    " `rillflow cluster certificates` makes one; others set RAY_USE_TLS=1, and RAY_TLS_SERVER_CERT,"
    " RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT to files of the authority of that Ray"
)
_BEGIN: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""With what a client of HTTP/2 begins: words, and settings of which there are none."""
_SETTINGS: Final = 4
_KIND: Final = 3
"""Where a frame tells its kind, which in the first one is that of settings."""


def use_certificate(address: str) -> None:
    """Have Ray encrypt, or not, as the Ray at an address needs it.

    What an operator has set by ``RAY_USE_TLS`` stays.

    Raises:
        UnreachableError: It encrypts, and there is no certificate for it here. Ray itself would try
            for minutes.
    """
    if USE_TLS in os.environ and not is_of_run(os.environ):
        return
    if of_run := variables_for(address):
        joining.use_certificate(of_run)
        return
    if USE_TLS in os.environ:  # of a Ray that was joined before
        joining.use_certificate({USE_TLS: "0"})
    if not is_encrypted(address):
        return
    folder = machine_folder()
    if (folder / CERTIFICATE).exists():
        joining.use_certificate(variables(folder))
    else:
        reason = f"Ray at {address} encrypts, and this script has no certificate for it"
        raise UnreachableError(reason).with_hint(HOW_TO_ENCRYPT)


def is_encrypted(address: str, patience_s: float = CONNECT_S) -> bool:
    """Tell whether what listens at an address ends a connection that is not encrypted.

    Where nothing listens, or nothing is said in time, the answer is no.
    """
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience_s) as line:
            line.sendall(_BEGIN)
            return not _is_settings(line)
    except (ConnectionResetError, BrokenPipeError):
        return True
    except (OSError, OverflowError):
        return False


def _is_settings(line: socket.socket) -> bool:
    said = b""
    while len(said) <= _KIND:
        more = line.recv(_KIND + 1 - len(said))
        if not more:
            return False
        said += more
    return said[_KIND] == _SETTINGS
