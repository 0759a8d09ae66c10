"""Checks of the files of TLS before anything is started with them.

Used by `cli/doctor` and `serve/stack`.
"""

import os
import ssl
import stat
from pathlib import Path
from typing import Final, NamedTuple

from rillflow.gateways.http_client.tls import context_of, load_pair
from rillflow.gateways.outbound.settings import TlsFiles

_GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_PRIVATE_KEY: Final = b"PRIVATE KEY-----"
"""How the first line of a key in PEM form ends, of whatever kind."""
_SUPERUSER: Final = 0
_ROUNDS: Final = 10


def why_unusable(certificate: Path, key: Path | None) -> str:
    """Return why a server cannot use a certificate and its key; empty if it can.

    Args:
        certificate: The file of the certificate, with those of its issuers after it.
        key: The file of the key; None if it is in the same file.
    """
    if why := _why_unfit(certificate, key):
        return why
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        load_pair(server, certificate, key)
    except ssl.SSLError as error:
        named = certificate if key is None else f"{certificate} with {key}"
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} is not that of the certificate in {certificate}"
        return f"{named} is no certificate with its key in PEM form ({error.reason or error})"
    except OSError as error:
        return f"{key or certificate}: {error}"
    why = _shown(server, certificate).why
    return f"the certificate in {certificate} is not valid: {why}" if why else ""


def _why_unfit(certificate: Path, key: Path | None) -> str:
    """Return why the files cannot be used, before what is in them is parsed; empty if they can."""
    for file in (certificate, key or certificate):
        try:
            with file.open("rb") as opened:
                opened.read(1)
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
    if key is None and _PRIVATE_KEY not in certificate.read_bytes():
        return f"{certificate} has no key in it: name the file that has, as tls_key (--tls-key)"
    return _open_to_others(key or certificate)


def why_unusable_files(files: TlsFiles) -> str:
    """Return why calls cannot use the files for a gateway; empty if they can."""
    try:
        context_of(files)
    except ssl.SSLError as error:
        return f"a file is not in PEM form, or a key is of another certificate ({error.reason})"
    except OSError as error:
        return f"{error.filename or files.key or files.ca}: {error.strerror or error}"
    if files.certificate is None:
        return ""
    return _open_to_others(Path(files.key or files.certificate))


def expires_at_s(certificate: Path, key: Path | None) -> float:
    """Return when a certificate that can be used ends, in seconds since the epoch."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_pair(server, certificate, key)
    return _shown(server, certificate).ends_s


def _open_to_others(key: Path) -> str:
    """Return why others may read a key; the group may where the superuser owns the file."""
    found = key.stat()
    allowed = stat.S_IRGRP if found.st_uid == _SUPERUSER and os.geteuid() != _SUPERUSER else 0
    if found.st_mode & _GROUP_AND_OTHERS & ~allowed:
        return f"others may read or write the key in {key}: chmod 600 {key}"
    return ""


class _Shown(NamedTuple):
    """What a client is shown by a server: why it refuses the certificate, or when that ends."""

    why: str = ""
    ends_s: float = 0.0


def _shown(server: ssl.SSLContext, certificate: Path) -> _Shown:
    """Have a client that trusts the certificate itself talk to the server, within this process."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        try:
            done = [_step(answering), _step(calling)]
        except ssl.SSLCertVerificationError as error:
            return _Shown(error.verify_message)
        except ssl.SSLError as error:
            return _Shown(str(error.reason or error))
        if all(done):
            ends = (calling.getpeercert() or {})["notAfter"]
            return _Shown(ends_s=ssl.cert_time_to_seconds(str(ends)))
    return _Shown("its handshake does not end")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
