"""API keys by name: made, listed and revoked while the server runs.

Used by `serve/api.py`.
"""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.ids import is_name
from rillflow.ports.storage.access import (
    KEY_ID_DIGITS,
    ROLES,
    ApiKey,
    Quota,
    digest_of,
    new_key,
)
from rillflow.runtime.stack import Stack
from rillflow.suggestions import did_you_mean
from serve.limits.known_keys import KnownKeys
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import FORM_TYPE, is_form, json_response, read_body
from serve.schemas.parameters import Flag, Names, Whole, listed

MOST_KEYS: Final = 1_000
"""How many keys are kept, with those that were revoked."""
MOST_WORKSPACES: Final = 50
LARGEST_QUOTA: Final = 10_000
MOST_BYTES: Final = 1 << 50
LONGEST_LIFE_S: Final = 10 * 366 * 86_400
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARAMETERS: Final = (
    *("name", "role", "workspaces", "expires_s"),
    *("submissions_per_s", "running", "artifact_bytes", "audit_submissions"),
)
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_UNSUPPORTED_TYPE: Final = 415

KeyName = Annotated[str, Query(description="Letters, digits, `.`, `_` and `-`; up to 64.")]
ArtifactBytes = Annotated[
    Whole | None, Query(description="Bytes of artifacts of executions that it has started.")
]
AuditsSubmissions = Annotated[
    Flag, Query(description="Whether the audit names each submission with it.")
]


def router(stack: Stack, keys: KnownKeys) -> APIRouter:
    """Return the routes of the keys; ``keys`` are told when they change."""
    routes = APIRouter(prefix="/flow/keys", tags=["keys"], responses=ERRORS | NOT_FOUND)

    @routes.post("/add.json", responses={200: {"description": "The key, shown this once."}})
    async def add(  # noqa: PLR0913 - the parameters of the endpoint
        request: Request,
        *,
        name: KeyName,
        role: Annotated[str, Query(description=f"One of {', '.join(ROLES)}.")],
        workspaces: Names = None,
        expires_s: Annotated[Whole | None, Query(description="Seconds; without an end.")] = None,
        submissions_per_s: Annotated[
            Whole | None, Query(description="Executions that it may start in a second.")
        ] = None,
        running: Annotated[
            Whole | None, Query(description="Unfinished executions that it may have started.")
        ] = None,
        artifact_bytes: ArtifactBytes = None,
        audit_submissions: AuditsSubmissions = False,
    ) -> Response:
        """Make a key. The server keeps its hash only, so the key is shown this once."""
        _require_first(stack)
        await _refuse_unread(request)
        shown, now_ms = new_key(), stack.clock.now_ms()
        digest = digest_of(shown.encode())
        key = ApiKey(
            name=_checked_name(name),
            key_id=digest[:KEY_ID_DIGITS],
            digest=digest,
            role=_checked_role(role),
            workspaces=_checked_workspaces(listed(workspaces)),
            created_at_ms=now_ms,
            expires_at_ms=None if expires_s is None else now_ms + 1000 * _checked_life(expires_s),
            quota=_checked_quota(submissions_per_s, running, artifact_bytes),
            audits_submissions=audit_submissions,
        )
        stack.stored.require_room()
        if not await stack.store.add_api_key(key, most=MOST_KEYS):
            raise RequestError(
                f"there is, or was, a key {name}, or there are {MOST_KEYS} keys",
                http_status=_CONFLICT,
            )
        keys.forget()
        return _private({**_shown(key, now_ms), "key": shown})

    _add_others(routes, stack, keys)
    return routes


def _add_others(routes: APIRouter, stack: Stack, keys: KnownKeys) -> None:
    @routes.get("/list.json", responses={200: {"description": "The keys, without them."}})
    async def list_keys() -> Response:
        """List the keys by name, with those that were revoked or have expired."""
        found, now_ms = await stack.store.api_keys(), stack.clock.now_ms()
        return _private({"keys": [_shown(key, now_ms) for key in found]})

    @routes.post("/revoke.json", responses={200: {"description": "The key has ended."}})
    async def revoke(name: KeyName) -> Response:
        """End a key: at once here, within a second at other replicas, for its streams too."""
        if not await stack.store.revoke_api_key(name, at_ms=stack.clock.now_ms()):
            raise RequestError(f"there is no key {name[:100]}", http_status=_NOT_FOUND)
        keys.forget()
        return _private({"name": name, "revoked": True})


def _require_first(stack: Stack) -> None:
    if stack.settings.api_key is None:
        raise RequestError(
            "this server has no API key, so every caller may do everything",
            hint="start it with --key, or set api_key",
        )


async def _refuse_unread(request: Request) -> None:
    """Refuse a limit that would not be read: a key must never be made with more than was meant.

    Raises:
        RequestError: A parameter is empty or misspelt, or the body is no form.
    """
    if not is_form(request.scope) and await read_body(request):
        raise RequestError(
            "the body is not read",
            hint=f"send parameters in the query, or as {FORM_TYPE.decode()}",
            http_status=_UNSUPPORTED_TYPE,
        )
    for name, text in request.query_params.multi_items():
        if name not in _PARAMETERS:
            near = did_you_mean(name, _PARAMETERS)
            raise RequestError(f"there is no parameter {name[:100]}", hint=near)
        if not text.strip(" ,"):
            raise RequestError(f"{name} is empty: leave it out, or say what it is")


def _private(content: dict[str, Any]) -> Response:
    response = json_response(content)
    response.headers["Cache-Control"] = "no-store"
    return response


def _shown(key: ApiKey, now_ms: int) -> dict[str, Any]:
    return {
        "name": key.name,
        "key_id": key.key_id,
        "role": key.role,
        "workspaces": list(key.workspaces),
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
        "valid": key.is_valid(now_ms),
        "quota": to_builtins(key.quota),
        "audit_submissions": key.audits_submissions,
    }


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise RequestError(
            f"name is malformed: {name[:100]}",
            hint="it has letters, digits, '.', '_' and '-', begins with a letter or digit, and has"
            " up to 64 characters",
        )
    return name


def _checked_role(role: str) -> str:
    if role not in ROLES:
        near = did_you_mean(role, ROLES)
        raise RequestError(
            f"there is no role {role[:100]}", hint=near or f"roles are {', '.join(ROLES)}"
        )
    return role


def _checked_workspaces(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_name(name):
            raise RequestError(f"{name[:100]} is no name of a workspace")
    if len(names) > MOST_WORKSPACES:
        raise RequestError(f"a key has up to {MOST_WORKSPACES} workspaces, not {len(names)}")
    return tuple(dict.fromkeys(names))


def _checked_quota(
    submissions_per_s: int | None, running: int | None, artifact_bytes: int | None
) -> Quota:
    return Quota(
        submissions_per_s=_checked_most(submissions_per_s, "submissions_per_s"),
        running=_checked_most(running, "running"),
        artifact_bytes=_checked_most(artifact_bytes, "artifact_bytes", MOST_BYTES),
    )


def _checked_most(number: int | None, name: str, most: int = LARGEST_QUOTA) -> int | None:
    if number is not None and not 0 < number <= most:
        raise RequestError(f"{name} must be from 1 to {most}")
    return number


def _checked_life(expires_s: int) -> int:
    if not 0 < expires_s <= LONGEST_LIFE_S:
        raise RequestError(f"expires_s must be from 1 to {LONGEST_LIFE_S}")
    return expires_s
