"""The artifacts of a call over HTTP: fetched from the server that calls, and stored there.

Used by `functions/application.py`.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import parse_qsl, urlencode, urlunsplit

import httpx

from rillflow.artifacts.addresses import PATH
from rillflow.artifacts.references import ArtifactReference, reference_of
from rillflow.errors import ArtifactLostError
from rillflow.exchange_limits.connections import with_limits
from rillflow.exchange_limits.limit import ExchangeLimit
from rillflow.functions.limits import CallRefusedError
from rillflow.gateways.callbacks.urls import TRIGGER_PATH
from rillflow.url_parts import split_url

IN_MEMORY_BYTES: Final = 1 << 20
"""What is larger lies in a temporary file while it is open."""
TIMEOUT_S: Final = 60.0
"""For an exchange, beside what its size needs."""
_AS_IT_IS: Final = "identity"
_PIECE_BYTES: Final = 1 << 18
_MOST_SAID: Final = 65_536


class ServerArtifacts:
    """Artifacts at the server whose callback address a call has.

    Args:
        callback_url: The address, whose seal lets the function store artifacts.
        check: Raises a ``CallRefusedError`` for addresses that may not be asked.
        most_bytes: Limit of one artifact that is fetched.
        timeout_s: For an exchange, beside what its size needs.
    """

    def __init__(
        self,
        callback_url: str,
        check: Callable[[str], None],
        most_bytes: int,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._callback_url = callback_url
        self._check = check
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s

    def check(self, reference: ArtifactReference, url: str) -> None:
        """Make sure that an artifact may be fetched; whether it is there, the server has checked.

        Raises:
            ValueError: Its address may not be asked.
        """
        if not split_url(url).path.endswith(f"{PATH}/{reference.sha256}"):
            raise ValueError("its url is no address of this artifact")
        try:
            self._check(url)
        except CallRefusedError as error:
            raise ValueError(str(error)) from None

    def open(self, reference: ArtifactReference, url: str) -> BinaryIO:
        """Fetch an artifact, and compare its content with the reference.

        Raises:
            ArtifactLostError: It is gone, or another one.
            OSError: The server does not answer.
        """
        content = _spooled()
        try:
            self._fetch(reference, url, content)
        except httpx.HTTPError as error:
            content.close()
            raise OSError(f"the artifact {reference} cannot be fetched: {error}") from error
        except BaseException:
            content.close()
            raise
        content.seek(0)
        return content

    def _fetch(self, reference: ArtifactReference, url: str, content: BinaryIO) -> None:
        digest, size = hashlib.sha256(), 0
        with (
            _client(self._timeout_s) as http,
            ExchangeLimit(self._timeout_s) as limit,
            http.stream("GET", url, headers={"Accept-Encoding": _AS_IT_IS}) as answer,
        ):
            limit.note_answer()
            if answer.status_code != 200:
                raise ArtifactLostError(
                    f"the artifact {reference} is gone: the server answers {answer.status_code}"
                )
            if answer.headers.get("Content-Encoding", _AS_IT_IS).strip().lower() != _AS_IT_IS:
                raise OSError(f"the artifact {reference} is compressed, which was not asked for")
            for piece in answer.iter_raw():
                limit.note_bytes(len(piece))
                size += len(piece)
                if size > self._most_bytes:
                    raise OSError(f"the artifact {reference} has over {self._most_bytes} bytes")
                digest.update(piece)
                content.write(piece)
        if digest.hexdigest() != reference.sha256:
            raise ArtifactLostError(f"the server has another artifact than {reference}")

    def open_file(self, file: Path) -> BinaryIO:
        """Open a file that the function of this process has returned."""
        return file.open("rb")

    def keep(self, data: BinaryIO, media_type: str, name: str) -> ArtifactReference:
        """Store an artifact at the server.

        Raises:
            OSError: The server does not take it.
        """
        if not self._callback_url:
            raise OSError("an artifact cannot be stored: the call has no X-Callback-Url")
        try:
            self._check(self._callback_url)
        except CallRefusedError as error:
            raise OSError(f"an artifact cannot be stored: {error}") from None
        url = _upload_url(self._callback_url, media_type, name)
        try:
            with (
                _client(self._timeout_s) as http,
                ExchangeLimit(self._timeout_s) as limit,
                http.stream("POST", url, content=_pieces(data, limit)) as answer,
            ):
                said = next(answer.iter_bytes(_MOST_SAID), b"")
        except httpx.HTTPError as error:
            raise OSError(f"an artifact cannot be stored: {error}") from error
        reference = _reference_in(said) if answer.status_code == 200 else None
        if reference is None:
            shown = said[:500].decode(errors="replace")
            raise OSError(f"the server does not store the artifact: {answer.status_code} {shown}")
        return reference


def _spooled() -> BinaryIO:
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES))


def _pieces(data: BinaryIO, limit: ExchangeLimit) -> Iterator[bytes]:
    while piece := data.read(_PIECE_BYTES):
        limit.note_bytes(len(piece))
        yield piece


def _client(timeout_s: float) -> httpx.Client:
    # No proxies of the environment, but its SSL_CERT_FILE.
    made = httpx.Client(timeout=timeout_s, trust_env=False, verify=httpx.create_ssl_context())
    return with_limits(made)


def _reference_in(said: bytes) -> ArtifactReference | None:
    try:
        return reference_of(httpx.Response(200, content=said).json())
    except ValueError:
        return None


def _upload_url(callback_url: str, media_type: str, name: str) -> str:
    """Return where artifacts are stored, with the parameters of the callback address."""
    parts = split_url(callback_url)
    fields = [*parse_qsl(parts.query, keep_blank_values=True)]
    fields += [("media_type", media_type), ("name", name)]
    path = parts.path.removesuffix(TRIGGER_PATH) + PATH
    return urlunsplit(parts._replace(path=path, query=urlencode(fields), fragment=""))
