"""The settings of TLS as the gateways need them.

Used by `actors`, `cli/doctor` and `serve/stack`.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.settings import Settings


def tls_by_host(settings: Settings) -> Mapping[str, TlsFiles]:
    """Return the files for gateways, by host."""
    return {
        host: TlsFiles(
            *(None if each is None else str(each) for each in (tls.ca, tls.certificate, tls.key))
        )
        for host, tls in settings.gateway_tls.items()
    }


def with_own(settings: Settings) -> Mapping[str, TlsFiles]:
    """Return the same, and that the server's own certificate is trusted for its address."""
    files = dict(tls_by_host(settings))
    if settings.tls_cert is not None:
        own = urlsplit(settings.callback_base_url).hostname or ""
        files.setdefault(own, TlsFiles(ca=str(settings.tls_cert)))
    return files


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
