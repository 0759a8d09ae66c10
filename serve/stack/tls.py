"""Checks of the files of TLS at the start of a stack, since HAProxy would fail where nobody looks.

Used by `serve/stack/standalone.py`.
"""

from rillflow.errors import StackError
from rillflow.gateways.http_client.tls_files import why_unusable, why_unusable_files
from rillflow.settings import Settings
from rillflow.tls_settings import tls_by_host


def refuse_unusable(settings: Settings) -> None:
    """Refuse certificates and keys with which the server, or calls of it, would fail.

    Raises:
        StackError: One is missing, of another key, over, or open to others.
    """
    if settings.tls_cert is not None:
        why = why_unusable(settings.tls_cert, settings.tls_key)
        if why:
            raise StackError(f"tls_cert and tls_key: {why}")
    for host, files in tls_by_host(settings).items():
        why = why_unusable_files(files)
        if why:
            raise StackError(f"gateway_tls of {host}: {why}")
