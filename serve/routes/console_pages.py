"""The console's page, its files, and the session of the person who looks at it.

The files are built from ``serve/ui`` and lie in ``serve/static``. Their names contain a hash of
their content, so browsers keep them. The page may load nothing from other hosts and run nothing
that does not stand in these files.

Used by `serve/api.py`.
"""

import gzip
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from rillflow.errors import RequestError, StoreError
from rillflow.gateways.outbound.threads import in_thread
from rillflow.ports.storage.access import digest_of
from serve.limits.callers import ADMIN, Caller
from serve.limits.failed_lookups import FailedLookups
from serve.limits.known_keys import KnownKeys
from serve.limits.session_limits import SessionLimits
from serve.schemas.console_sessions import ConsoleSessions, OpenSession
from serve.schemas.exchange import HAD_SLASH, header_of, json_response, read_json_text

STATIC: Final = Path(__file__).parents[1] / "static"
FILES: Final = STATIC / "console" / "files"
MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PACKED: Final = ".gz"
"""The end of the names of files that the wheel has packed (`hatch_build.py`)."""
FOR_EVER: Final = "public, max-age=31536000, immutable"
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " media-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class ShownKey(msgspec.Struct):
    """The body that begins a session."""

    key: str


def router(
    sessions: ConsoleSessions, keys: KnownKeys, guesses: FailedLookups, limits: SessionLimits
) -> APIRouter:
    """Return the routes of the console's page, which need no key: none of them has data.

    ``guesses`` limits how often an address may show a wrong key, ``limits`` how often a right one.
    """
    routes = APIRouter(include_in_schema=False)
    _add_files(routes)
    _add_session(routes, sessions, keys, guesses, limits)
    return routes


def _add_files(routes: APIRouter) -> None:
    there = (Path(file.name.removesuffix(PACKED)) for file in FILES.glob("*"))
    names = frozenset(str(file) for file in there if file.suffix in MEDIA_TYPES)

    @routes.get("/")
    async def root() -> Response:
        """Redirect to the console, also below the path of a reverse proxy."""
        return RedirectResponse("console")

    @routes.get("/console")
    async def page(request: Request) -> Response:
        """Show the console; what follows ``#`` in the address says which page of it."""
        if request.scope.get(HAD_SLASH):  # its files are named relative to the path without it
            return RedirectResponse("../console")
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return await _file(request, STATIC / "index.html", "text/html; charset=utf-8", headers)

    @routes.get("/console/files/{name}")
    async def file(request: Request, name: str) -> Response:
        """Send one of the console's scripts, styles and pictures."""
        if name not in names:
            raise RequestError("the console has no such file; load its page again", http_status=404)
        path = FILES / name
        return await _file(request, path, MEDIA_TYPES[path.suffix], {"Cache-Control": FOR_EVER})


def _add_session(
    routes: APIRouter,
    sessions: ConsoleSessions,
    keys: KnownKeys,
    guesses: FailedLookups,
    limits: SessionLimits,
) -> None:
    @routes.get("/console/session")
    async def state(request: Request) -> Response:
        """Tell whether a key is needed, and whether this browser has shown it."""
        held = sessions.of(request.scope["headers"])
        is_held = held is not None and await held.is_open()
        key_id = held.session.key_id if held is not None else ""
        caller = await keys.by_id(key_id) if key_id and is_held else ADMIN
        return _session(needed=sessions.is_needed, held=is_held, caller=caller)

    @routes.post("/console/sign-in")
    async def begin(request: Request) -> Response:
        """Begin a session for whoever shows an API key; the one that the browser had ends."""
        try:
            shown = msgspec.json.decode(await read_json_text(request), type=ShownKey)
        except msgspec.DecodeError as error:
            raise RequestError('the body must be {"key": "<API key>"}') from error
        if not sessions.is_needed:
            return _session(needed=False, held=True)
        is_first = sessions.is_key(shown.key)
        caller = ADMIN if is_first else await keys.by_digest(digest_of(shown.key.encode()))
        if caller is None:
            guesses.failed(request.scope)
            raise RequestError("the API key is wrong", http_status=403)
        limits.count(request.scope, caller.key_id)
        headers = request.scope["headers"]
        with suppress(StoreError):  # a person may sign in while the store does not answer
            await _end(sessions.of(headers))
        begun = sessions.begin(headers, caller.key_id, secure=_is_secure(request))
        response = _session(needed=True, held=True, token=begun.token, caller=caller)
        response.headers["Set-Cookie"] = begun.set_cookie
        return response

    @routes.post("/console/sign-out")
    async def end(request: Request) -> Response:
        """End the session at the server, with its streams, and in the browser."""
        headers = request.scope["headers"]
        await _end(sessions.of(headers))
        response = _session(needed=sessions.is_needed, held=False)
        response.headers["Set-Cookie"] = sessions.forgotten(headers, secure=_is_secure(request))
        return response


async def _end(session: OpenSession | None) -> None:
    if session is not None:
        await session.end()


def _session(
    *, needed: bool, held: bool, token: str | None = None, caller: Caller | None = ADMIN
) -> Response:
    held = held and caller is not None
    shown: dict[str, Any] = {"key_needed": needed, "signed_in": held or not needed}
    if caller is not None and shown["signed_in"]:
        shown |= {"role": caller.role.word, "workspaces": sorted(caller.workspaces)}
    response = json_response(shown if token is None else {**shown, "token": token})
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_secure(request: Request) -> bool:
    """Tell whether the browser says that the page came over HTTPS, also behind a proxy."""
    return request.url.scheme == "https" or header_of(request.scope, b"origin").startswith("https:")


async def _file(
    request: Request, path: Path, media_type: str, headers: Mapping[str, str]
) -> Response:
    tag, plain, packed = await in_thread(lambda: _read(path), workspace="")
    sent: dict[str, Any] = {**_HEADERS, **headers, "ETag": tag}
    if header_of(request.scope, b"if-none-match") == tag:
        return Response(status_code=304, headers=sent)
    if "gzip" in header_of(request.scope, b"accept-encoding"):
        return Response(packed, media_type=media_type, headers={**sent, "Content-Encoding": "gzip"})
    return Response(plain, media_type=media_type, headers=sent)


@cache  # the files are few, and are those of the package
def _read(path: Path) -> tuple[str, bytes, bytes]:
    """Return a file's tag, its content, and that compressed, as it is in an installed package."""
    there = path.with_name(path.name + PACKED)
    if there.exists():
        packed = there.read_bytes()
        content = gzip.decompress(packed)
    else:
        content = path.read_bytes()
        packed = gzip.compress(content, mtime=0)
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"', content, packed
