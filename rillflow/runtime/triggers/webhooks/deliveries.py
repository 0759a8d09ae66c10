"""Webhooks: requests of other systems that start executions, once for each delivery.

A request is checked before its body is parsed: the name, then what it is signed with, then the
bytes. Whoever shows no signature learns nothing but what its headers lack.

Used by `serve/routes/webhooks`.
"""

import hashlib
import logging
from typing import Any, Final, NamedTuple

from rillflow.errors import GatewayError, OverloadedError, RequestError, RillflowError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.gateways.outbound.threads import SHORT_BYTES, computed
from rillflow.gateways.secrets.store import Secrets
from rillflow.ids import ExecutionId, parse_descriptor_id
from rillflow.jsontypes import JsonObject
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.firing_rates import workspace_of_row
from rillflow.runtime.triggers.log_room import LogRoom
from rillflow.runtime.triggers.submission_options import (
    Submitter,
    is_not_now,
    options_of,
    was_started_before,
)
from rillflow.runtime.triggers.webhooks.data import data_of, read_request
from rillflow.runtime.triggers.webhooks.progress import WebhookProgress
from rillflow.telemetry.trace_context import HEADER as TRACEPARENT
from rillflow.triggers.signatures import Headers, Received, SignatureKind, check_signature
from rillflow.triggers.spec import TriggerSpec, decode_spec
from rillflow.triggers.trigger_types import WEBHOOK
from rillflow.triggers.webhooks import Webhook, id_of_name, webhook_of

log = logging.getLogger("rillflow.triggers")

UNAVAILABLE: Final = 503
LONGEST_CHALLENGE: Final = 1_000
TOO_MANY: Final = 429
IDS_IN_BODIES: Final = {SignatureKind.STRIPE: "id", SignatureKind.SLACK: "event_id"}
"""Fields of bodies that have the id of a delivery, which the signature covers there."""
FOR_WEBHOOKS: Final = FairThread(most=512, most_of_one=256, name="webhooks")
"""The thread of this process that reads large bodies of webhooks, and applies their mappings."""


class Hook(NamedTuple):
    """A webhook as it is stored now.

    Attributes:
        row: Its trigger.
        spec: What the trigger's author wrote.
        webhook: The settings of the webhook.
        context: The context of the trigger as JSON text; empty is none.
    """

    row: TriggerRow
    spec: TriggerSpec
    webhook: Webhook
    context: bytes

    @property
    def workspace(self) -> str:
        """The business whose definition it starts."""
        return workspace_of_row(self.row)


class CheckedRequest(NamedTuple):
    """A request whose signature is right.

    Attributes:
        received: Its headers and its body.
        query: Its query, as it came.
    """

    received: Received
    query: bytes


class WebhookOutcome(NamedTuple):
    """What became of a request.

    Attributes:
        execution_id: The execution; empty if the request only tried whether somebody answers.
        answer: What such a try is answered with.
    """

    execution_id: ExecutionId = ""
    answer: JsonObject | None = None


class _Read(NamedTuple):
    """What a body says: the answer to a try, or the id of a delivery and the data."""

    answer: JsonObject | None = None
    delivery: str = ""
    data: bytes = b""


class Webhooks:
    """Finds the webhooks of a stack, checks their requests, and starts executions."""

    def __init__(
        self,
        *,
        store: Store,
        submissions: Submitter,
        secrets: Secrets,
        clock: Clock,
        data_max_bytes: int,
    ) -> None:
        self._store = store
        self._submissions = submissions
        self._secrets = secrets
        self._clock = clock
        self._log_room = LogRoom(clock)
        self._data_max_bytes = data_max_bytes
        self._progress = WebhookProgress(store, clock)

    async def stop(self) -> None:
        """Write what was noted of triggers."""
        await self._progress.stop()

    async def find(self, name: str) -> Hook | None:
        """Return the webhook of a name as it is now; None if there is none.

        Triggers of other types, removed ones and names that nobody has are looked up alike.

        Raises:
            StoreError: The store does not tell.
        """
        trigger_id = id_of_name(name)
        stored = None if trigger_id is None else await self._store.trigger(trigger_id)
        if stored is None or stored[0].type != WEBHOOK:
            return None
        row, context = stored
        spec = decode_spec(row.spec)
        return Hook(row, spec, webhook_of(spec.config or {}), context.encode())

    async def check(self, hook: Hook, received: Received) -> None:
        """Check the signature of a request.

        Raises:
            SignatureError: It is missing, wrong or too old (401).
            OverloadedError: The secret is not known here (503).
        """
        webhook = hook.webhook
        if webhook.scheme is SignatureKind.NONE:
            return
        try:
            secret = self._secrets.value(webhook.secret_name)
        except GatewayError as error:
            reason = str(error)
            log.error("webhook_not_checked", extra={"trigger": hook.row.id, "reason": reason})  # noqa: TRY400 - the reason says all
            self._progress.refused(hook.row.id, reason)
            raise OverloadedError(
                "this webhook cannot be checked now; try again later", http_status=UNAVAILABLE
            ) from None
        now_ms, window_s = self._clock.now_ms(), webhook.replay_window_s

        def check() -> None:
            check_signature(webhook, received, secret, now_ms=now_ms, window_s=window_s)

        await computed(len(received.body), check, workspace=hook.workspace)

    async def fire(self, hook: Hook, arrived: CheckedRequest) -> WebhookOutcome:
        """Start the execution of a request whose signature is right, unless one was started.

        Raises:
            RequestError: The body cannot be read, or its data are refused.
            RillflowError: It cannot be done now, and may be done later.
        """
        read = await self._read(hook, arrived)
        if read.answer is not None:
            return WebhookOutcome(answer=read.answer)
        try:
            started = await self._start(hook, arrived, read)
        except RillflowError as error:
            facts = {"trigger": hook.row.id, "reason": str(error)}
            self._log_room.warn(hook.workspace, "trigger_refused", **facts)
            self._progress.refused(hook.row.id, str(error))
            if is_not_now(error) and error.http_status < TOO_MANY:
                raise OverloadedError(str(error), http_status=UNAVAILABLE) from error
            raise
        self._progress.started(hook.row.id, started)
        return WebhookOutcome(started)

    async def _read(self, hook: Hook, arrived: CheckedRequest) -> _Read:
        headers, body = arrived.received
        most_bytes = self._data_max_bytes

        def read() -> _Read:
            request = read_request(hook.webhook, headers, arrived.query, body)
            answer = _answer_to_try(hook.webhook, headers, request)
            if answer is not None:
                return _Read(answer)
            data = data_of(hook.webhook, request, hook.context, most_bytes)
            return _Read(None, _delivery(hook.webhook, headers, request), data)

        if hook.webhook.mapping is None and len(body) + len(hook.context) <= SHORT_BYTES:
            return read()
        return await FOR_WEBHOOKS.run(hook.workspace, read)

    async def _start(self, hook: Hook, arrived: CheckedRequest, read: _Read) -> ExecutionId:
        keys = _keys(hook, arrived.received.body, read.delivery, self._clock.now_ms())
        for earlier in keys[1:]:
            found = await self._started(hook, earlier)
            if found is not None:
                return found
        sender = "".join(arrived.received.headers.get(TRACEPARENT, ())[:1])
        options = options_of(hook.spec, keys[0])._replace(traceparent=sender)
        descriptor_id = hook.row.descriptor_id
        try:
            return await self._submissions.submit(descriptor_id, read.data, options)
        except RillflowError as error:
            # A delivery that comes again may have other headers, and with them other data.
            found = await self._started(hook, keys[0]) if was_started_before(error) else None
            if found is None:
                raise
            return found

    async def _started(self, hook: Hook, key: str) -> ExecutionId | None:
        address = parse_descriptor_id(hook.row.descriptor_id)
        found = await self._store.find_by_idempotency_key(address.business, address.feature, key)
        return None if found is None else found[0]


def _answer_to_try(webhook: Webhook, headers: Headers, request: JsonObject) -> JsonObject | None:
    """Return the answer to a request that only tries whether somebody answers; None for others."""
    body: Any = request["body"]
    if webhook.scheme is SignatureKind.GITHUB and list(headers.get("x-github-event", ())) == [
        "ping"
    ]:
        return {"result": "pong"}
    is_try = webhook.scheme is SignatureKind.SLACK and isinstance(body, dict)
    if not is_try or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str) or len(challenge) > LONGEST_CHALLENGE:
        raise RequestError("a url_verification needs a challenge")
    return {"challenge": challenge}


def _delivery(webhook: Webhook, headers: Headers, request: JsonObject) -> str:
    """Return the id of a delivery: that of its header, or of its body; empty if it has none."""
    name = webhook.header_of_delivery
    if name:
        return "".join(headers.get(name, ())[:1])
    body: Any = request["body"]
    field = IDS_IN_BODIES.get(webhook.scheme)
    found = body.get(field) if field and isinstance(body, dict) else None
    return found if isinstance(found, str) else ""


def _keys(hook: Hook, body: bytes, delivery: str, now_ms: int) -> tuple[str, ...]:
    """Return the idempotency key of a delivery, and others under which it may have come before.

    Without an id the same body is the same delivery for a replay window at least.
    """
    prefix = f"trigger/{hook.row.id}"
    if delivery:
        return (f"{prefix}/delivery/{_digest(delivery.encode('utf-8', 'surrogatepass'))}",)
    window = now_ms // (hook.webhook.replay_window_s * 1000)
    digest = _digest(body)
    return f"{prefix}/body/{digest}/{window}", f"{prefix}/body/{digest}/{window - 1}"


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()
