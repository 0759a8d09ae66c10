"""Webhooks: the address where other systems start executions, without a key (ours).

The cheapest checks come first, so that callers without a signature cost little: the address's rate,
the name, whether it is paused, the headers, the length, then the body, its signature, and only then
what it says.

Used by `serve/api.py`.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from rillflow.errors import ForeignRequestError, RequestError
from rillflow.gateways.outbound.threads import joined
from rillflow.gateways.secrets.store import Secrets
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import encode_json
from rillflow.runtime.stack import Stack
from rillflow.runtime.triggers.webhooks.data import refuse_media_type
from rillflow.runtime.triggers.webhooks.deliveries import (
    CheckedRequest,
    Hook,
    WebhookOutcome,
    Webhooks,
)
from rillflow.triggers.signatures import (
    Headers,
    Received,
    SignatureError,
    SignatureKind,
    refuse_unsigned,
)
from serve.limits.body_pool import BodyLimit, anonymous_pool
from serve.limits.callers import body_sender
from serve.limits.waits import Waits
from serve.limits.webhook_limits import WebhookLimits
from serve.schemas.answers import Submitted
from serve.schemas.documentation import ERRORS, answer, by_reference
from serve.schemas.errors import respond_to
from serve.schemas.exchange import body_limit, json_response, raw_response

UNKNOWN_TRIGGER: Final = 30106
PAUSED: Final = 30201
NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
ACCEPTED: Final = 202
VIEW: Final = "brief"
PAUSED_S: Final = 60
"""When whoever calls a paused webhook is told to come again."""

RefuseForeign = Callable[[Scope], None]
"""Raises ForeignRequestError for what a page of another site sends, or for a foreign Host."""


def webhooks_of(stack: Stack) -> Webhooks:
    """Return the webhooks of a stack."""
    settings = stack.settings
    return Webhooks(
        store=stack.store,
        submissions=stack.submissions,
        secrets=Secrets(settings.secrets_dir),
        clock=stack.clock,
        data_max_bytes=settings.submit_max_bytes,
    )


def router(
    stack: Stack, webhooks: Webhooks, refuse_foreign: RefuseForeign, waits: Waits
) -> APIRouter:
    """Return the route of webhooks."""
    routes = APIRouter(tags=["triggers"], responses=ERRORS)
    requests = _WebhookRequests(stack, webhooks, refuse_foreign, waits)

    @routes.post(
        "/flow/hooks/{name}",
        responses=answer(Submitted)
        | {
            202: by_reference(Submitted, "The execution is started."),
            401: {"description": "The signature is missing, wrong or too old."},
            404: {"description": "There is no such webhook."},
            413: {"description": "The body is too large."},
            415: {"description": "The body is of a type that is not read."},
            429: {"description": "Too many requests come."},
        },
    )
    async def call_webhook(name: str, request: Request) -> Response:
        """Start an execution for what another system tells, once for each delivery.

        Without `wait_s` in the webhook the answer is 202 with the execution. With it, it is the
        end of the execution, if that comes in time.
        """
        return await requests.handle(name, request)

    return routes


class _WebhookRequests:
    def __init__(
        self, stack: Stack, webhooks: Webhooks, refuse_foreign: RefuseForeign, waits: Waits
    ) -> None:
        self._stack = stack
        self._webhooks = webhooks
        self._refuse_foreign = refuse_foreign
        self._waits = waits
        self._limits = WebhookLimits(stack.clock)
        # Who knows no webhook cannot take the places of those who do.
        self._bodies = anonymous_pool(stack.settings, body_sender)

    async def handle(self, name: str, request: Request) -> Response:
        """Answer a request."""
        self._limits.arrived(request.scope)
        hook = await self._webhooks.find(name)
        if hook is None:
            self._limits.failed(request.scope)
            raise RequestError(
                "there is no such webhook", wire_code=UNKNOWN_TRIGGER, http_status=NOT_FOUND
            )
        if hook.row.is_paused:
            return _paused()
        started = await self._start(hook, request)
        # Only now: whoever cannot sign a request, or does not send its body, takes no place.
        wait = self._waits.begin(request) if hook.webhook.wait_s else None
        if wait is None:
            return await self._ended(started, 0)
        with wait:
            return await self._ended(started, hook.webhook.wait_s)

    async def _start(self, hook: Hook, request: Request) -> WebhookOutcome:
        """Start the execution; nothing of the body is held afterwards."""
        received = await self._received(hook, request)
        self._limits.signed(hook.row.id)
        arrived = CheckedRequest(received, request.scope["query_string"])
        with self._limits.work_on(hook.workspace, len(received.body)):
            return await self._webhooks.fire(hook, arrived)

    async def _ended(self, started: WebhookOutcome, wait_s: float) -> Response:
        """Answer with the end of an execution, if it comes in time."""
        if started.answer is not None:
            return json_response(started.answer)
        execution_id = started.execution_id
        if wait_s:
            end = await self._stack.executions.end(execution_id, wait_s, VIEW)
            if end.has_ended:
                return await _told(execution_id, end.body or await self._view(execution_id))
        return json_response({"execution_id": execution_id}, ACCEPTED)

    async def _view(self, execution_id: ExecutionId) -> bytes:
        return await self._stack.query(execution_id, VIEW) or b"null"

    async def _received(self, hook: Hook, request: Request) -> Received:
        """Return a request whose signature is right.

        Raises:
            SignatureError: It is not.
            RequestError: Something else is wrong with it.
        """
        headers = _headers_of(request)
        if hook.webhook.scheme is SignatureKind.NONE:
            self._refuse_pages(request.scope)
        try:
            refuse_unsigned(hook.webhook, headers)
            refuse_media_type(headers)
            received = Received(headers, await self._read_body(hook, request))
            await self._webhooks.check(hook, received)
        except SignatureError:
            self._limits.failed(request.scope)
            raise
        return received

    async def _read_body(self, hook: Hook, request: Request) -> bytes:
        limit = _limit_of(hook, body_limit(request))
        limit.refuse_announced(request.scope)
        with self._limits.body_of(hook.row.id, request.scope):
            return await self._bodies.read(request, limit, hook.workspace)

    def _refuse_pages(self, scope: Scope) -> None:
        """Refuse what a page of another site sends to a webhook without a signature."""
        try:
            self._refuse_foreign(scope)
        except ForeignRequestError as error:
            hint = "a webhook with a signature may be called by any host, and for any page"
            raise error.with_hint(hint) from None


def _headers_of(request: Request) -> Headers:
    headers: dict[str, list[str]] = defaultdict(list)
    for name, value in request.scope["headers"]:
        headers[name.decode("latin-1")].append(value.decode("latin-1"))
    return dict(headers)


def _limit_of(hook: Hook, limit: BodyLimit) -> BodyLimit:
    """Return the limit of a body: the server's, or the webhook's if that is lower."""
    own = hook.webhook.max_body_bytes
    return limit._replace(bytes=own, setting="") if 0 < own < limit.bytes else limit


def _paused() -> Response:
    error = RequestError(
        "this webhook is paused; try again later", wire_code=PAUSED, http_status=UNAVAILABLE
    )
    response = respond_to(error)
    response.headers["Retry-After"] = str(PAUSED_S)
    return response


async def _told(execution_id: ExecutionId, shown: bytes) -> Response:
    head = b'{"execution_id":%b,"ret":' % encode_json(execution_id)
    return raw_response(await joined(head, shown, b"}", workspace=workspace_of(execution_id)))
