"""Accepting submissions from outside: find the definition, check the data, ask admission.

It makes the ``ExecutionSubmitted`` event and sends it to the owner. It keeps nothing but a cache of
definitions.

Used by `client/ray_transport/driver.py`, `runtime` and `serve`.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import msgspec

from rillflow.core.events import FOREACH_IN_PORTIONS, ExecutionSettings, ExecutionSubmitted
from rillflow.definition.checks.validation import depth_findings
from rillflow.definition.model import CallbackConfig, WorkflowDefinition
from rillflow.definition.parse import parse_callback
from rillflow.definition.references import expanded_rules
from rillflow.definition.tasks import levels
from rillflow.errors import (
    DefectError,
    DefinitionError,
    ExecutionError,
    RequestError,
    StoreError,
    UnavailableError,
    UnknownDescriptorError,
)
from rillflow.gateways.outbound.fair_thread import FOR_SCHEMAS
from rillflow.gateways.outbound.targets import HTTP_SCHEMES, scheme_of
from rillflow.gateways.outbound.threads import SHORT_BYTES, in_turn
from rillflow.ids import (
    ID_KEY_BYTES,
    DescriptorId,
    ExecutionId,
    new_execution_id,
    parse_descriptor_id,
)
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    decode_json,
    decode_untrusted_json,
    encode_json,
)
from rillflow.language.bounded_cache import PATTERN_BYTES, BoundedCache
from rillflow.language.versions import CURRENT
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Executions, Reply, Submission
from rillflow.ports.storage.access import Holder
from rillflow.ports.storage.store import Store
from rillflow.runtime.aio.thread_pool import FOR_DEFINITIONS
from rillflow.runtime.backpressure.admission import Admission
from rillflow.runtime.backpressure.quotas import KeysOfExecutions, Quotas, Wait
from rillflow.runtime.definitions.catalogue import (
    SingleFlight,
    SingleFlightReads,
    parse_stored,
    read_bytes,
    resolve_descriptor,
    stored_text,
    workspace_in,
)
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.runtime.hooks.chain import ContextHook
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.settings import ResourceCheck, Settings
from rillflow.telemetry.trace_context import TraceParent
from rillflow.triggers.origins import PREFIX

DEFINITIONS_BYTES: Final = 128 * 1024 * 1024
"""Limit of the memory of the definitions that a replica keeps."""
MOST_CALLBACK_RULES: Final = 1_000
"""Limit of the rules of a submission's own callback, which are compiled when the execution ends."""
MOST_CALLBACK_PATTERNS: Final = 10
"""Limit of their regular expressions: each may take milliseconds of the owner's loop."""
MOST_KEY_CHARACTERS: Final = 255
MOST_DRAWS: Final = 32
"""How many ids are drawn at most until one suits."""
_SCHEMA: Final = "inputSchema"
"""A definition that has one is read in a thread: checking the schema takes up to half a second."""
UNPROCESSABLE: Final = 422
CONFLICT: Final = 409
TRAVERSAL_FAILED: Final = 30603

UNSURE: Final = (StoreError, UnavailableError, DefectError)
"""Errors after which a submission may have been stored all the same."""
Send: TypeAlias = Callable[[Submission], Awaitable[Reply]]
Suits: TypeAlias = Callable[[ExecutionId], bool]
"""Tells whether an id is as good as any: it decides who owns the execution."""


class Options(NamedTuple):
    """The options of a submission besides its data.

    Attributes:
        callback: CallbackConfig as JSON, replacing the definition's.
        isolation: ``shared`` or ``dedicated``, replacing the definition's.
        uid: The caller's, for gray and A/B rules; None is the one of the settings.
        idempotency_key: Submissions of a feature with one key and equal data are one.
        resource_check: Replaces the check for busy functions that is set.
        holder: The key with a quota that submits, if one does.
        traceparent: The header of that name, of anybody.
        link: The span of the trigger that submits.
        is_new: Whether nothing has been submitted under the key, most likely: it is not looked for
            before, and found by the store if there is one.
    """

    callback: bytes | None = None
    isolation: str | None = None
    uid: int | None = None
    idempotency_key: str | None = None
    resource_check: ResourceCheck | None = None
    holder: Holder | None = None
    traceparent: str | None = None
    link: TraceParent | None = None
    is_new: bool = False


class Ready(NamedTuple):
    """A stored definition that can be run.

    ``schema`` None accepts any data. ``too_deep`` names the tasks that are nested more deeply than
    the present setting allows, which may have changed since the definition was added.
    """

    definition: WorkflowDefinition
    schema: InputSchema | None
    too_deep: str | None = None


class Submissions:
    """Submits executions of stored definitions."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        settings: Settings,
        *,
        store: Store,
        executions: Executions,
        clock: Clock,
        hook: ContextHook | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        wait: Wait | None = None,
        notes: KeysOfExecutions | None = None,
        definitions_bytes: int = DEFINITIONS_BYTES,
    ) -> None:
        """Submit to ``executions``, and keep ``definitions_bytes`` of definitions.

        ``entropy`` returns the random bytes of ids and keys. ``wait`` waits for the end of an
        execution, and ``notes`` keep its key, where keys with quotas submit.
        """
        self.suits: Suits = lambda _: True
        self._settings = settings
        self._kept = execution_settings(settings)
        self._traces = TraceSampling(settings)
        self._caller_uid = settings.caller_uid
        self._callback_host = settings.callback_base_url
        self._store = store
        self._reads = SingleFlightReads(store)
        self._executions = executions
        self._clock = clock
        self._hook = hook
        self._entropy = entropy
        self._ready = BoundedCache[Ready](definitions_bytes)
        self._reading = SingleFlight[Ready]()
        self.admission = Admission(settings, store=store, executions=executions, clock=clock)
        by_workspace = {name: quota.as_quota() for name, quota in settings.workspace_quotas.items()}
        self.quotas = Quotas(
            by_workspace,
            store=store,
            executions=executions,
            clock=clock,
            wait=wait,
            notes=notes,
        )

    async def definition(self, version: str) -> WorkflowDefinition:
        """Return a stored definition by its md5; recent ones are cached.

        Raises:
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
            RequestError: Its schema is to be enforced, but cannot be.
        """
        return (await self._get_ready(version)).definition

    async def submit(
        self, descriptor_id: str, data: bytes, options: Options, send: Send | None = None
    ) -> ExecutionId:
        """Start an execution; when this returns, it is on disk.

        ``send`` delivers the submission to its owner, if that is more than a call; it is not called
        for a known idempotency key.

        Raises:
            RequestError: The request is malformed, names nothing that is stored, does not
                match the schema, is not admitted now, or its key is taken (409).
            ExecutionError: The definition is no longer valid, or the data cannot be kept.
            StoreError: It could not be made durable in time.
            UnavailableError: Its owner could not be reached in time.
        """
        if len(data) <= SHORT_BYTES:
            document = json_object(data)
        else:
            document = await in_turn(descriptor_id, len(data), lambda: json_object(data))
        data = data if data.strip() else b"{}"
        key = options.idempotency_key
        if key is None:
            return await self._start(descriptor_id, document, options, data=data, send=send)
        digest = await in_turn(descriptor_id, len(data), lambda: digest_of(document))
        found = None if options.is_new else await self._find(descriptor_id, key, digest)
        if found is not None:
            return found
        try:
            return await self._start(
                descriptor_id, document, options, data=data, send=send, digest=digest
            )
        except UNSURE:
            # Another submission with this key, or this one itself, may just have been stored.
            found = await self._find(descriptor_id, key, digest)
            if found is None:
                raise
            return found

    async def _find(self, descriptor_id: str, key: str, digest: str) -> ExecutionId | None:
        wanted = parse_descriptor_id(descriptor_id)
        found = await self._store.find_by_idempotency_key(wanted.business, wanted.feature, key)
        if found is None:
            return None
        execution_id, kept = found
        if kept != digest:
            message = f"idempotency key {key} was used for other data, by {execution_id}"
            raise RequestError(message, http_status=CONFLICT)
        return execution_id

    async def missing(self, descriptor_id: str) -> str:
        """Say what a submission to a descriptor would lack now; nothing if it is all there."""
        try:
            await resolve_descriptor(self._reads, descriptor_id)
        except UnknownDescriptorError as error:
            return str(error.hint or error)
        return ""

    async def _start(  # noqa: PLR0913 - the parameters of submit, read
        self,
        descriptor_id: str,
        document: JsonObject,
        options: Options,
        *,
        data: bytes,
        send: Send | None,
        digest: str | None = None,
    ) -> ExecutionId:
        uid = self._caller_uid if options.uid is None else options.uid
        found = await resolve_descriptor(self._reads, descriptor_id, uid=uid, data=document)
        ready = await self._runnable(found.version or "")
        refuse_unposted(options.callback, ready.definition)
        if self._hook is not None:
            document = self._hook(found, document)
            data = encode_json(document)
        if ready.schema is not None:
            await _check_schema(found.business, ready.schema, document, len(data))
        check = self.admission.resource_check(found.business, found.feature, options.resource_check)
        dedicated = (options.isolation or ready.definition.isolation) == "dedicated"
        await self.admission.check(
            found.business, found.feature, check, dedicated=dedicated, size_bytes=len(data)
        )
        event = self._event(found, data, options, dedicated=dedicated, uid=uid)
        submission = self._submission(found, event, check, options.idempotency_key, digest)
        deliver = send or self._executions.call
        if options.holder is None and found.business not in self.quotas.by_workspace:
            (await deliver(submission)).raise_for_error()
            return submission.event.execution_id
        execution_id = submission.event.execution_id
        async with self.quotas.place(
            execution_id, found.business, options.holder, len(data)
        ) as place:
            (await deliver(submission)).raise_for_error()
            place.started = execution_id
        return execution_id

    def _submission(
        self,
        found: DescriptorId,
        event: ExecutionSubmitted,
        check: ResourceCheck,
        key: str | None,
        digest: str | None,
    ) -> Submission:
        return Submission(
            business=found.business,
            feature=found.feature,
            event=event,
            idempotency_key=key,
            request_digest=digest,
            check="" if check.check_type == "skip" else check.check_type,
            key_resources=check.key_resources,
            any_key=self._settings.key_resource_any,
        )

    def _event(  # noqa: PLR0913 - what an event is made of
        self,
        found: DescriptorId,
        data: bytes,
        options: Options,
        *,
        dedicated: bool,
        uid: int,
        at_ms: int | None = None,
        suits: Suits | None = None,
    ) -> ExecutionSubmitted:
        at_ms = self._clock.now_ms() if at_ms is None else at_ms
        suits = suits or self.suits
        for _ in range(MOST_DRAWS):
            entropy = self._entropy(10 + ID_KEY_BYTES)
            execution_id = new_execution_id(
                found.business,
                found.feature,
                at_ms=at_ms,
                entropy=entropy[:10],
                dedicated=dedicated,
            )
            if dedicated or suits(execution_id):
                break
        return ExecutionSubmitted(
            at_ms=at_ms,
            execution_id=execution_id,
            definition_id=found.version or "",
            data=data,
            host=self._callback_host,
            callback=options.callback,
            dedicated=dedicated,
            uid=uid,
            id_key=entropy[10:],
            language=CURRENT,
            trace=self._traces.start_of(execution_id, options.traceparent, options.link)
            if self._traces.is_on
            else None,
            **self._kept,
        )

    async def _runnable(self, version: str) -> Ready:
        try:
            ready = await self._get_ready(version)
        except DefinitionError as error:
            raise ExecutionError(str(error), error.wire_code) from error
        if ready.too_deep is not None:
            raise ExecutionError(ready.too_deep)
        return ready

    def _read(self, stored: str) -> Ready:
        definition = parse_stored(stored)
        enforced = self._settings.enforce_input_schema or definition.enforce_input_schema
        text = definition.input_schema
        schema = InputSchema(text) if enforced and text and text.strip() else None
        finding = next(depth_findings(list(levels(definition)), self._settings.max_depth), None)
        return Ready(definition, schema, None if finding is None else finding.message)

    async def _get_ready(self, version: str) -> Ready:
        ready = self._ready.get(version)
        if ready is not None:
            return ready
        return await self._reading.ask(version, lambda: self._make_ready(version))

    async def _make_ready(self, version: str) -> Ready:
        stored = await stored_text(self._store, version)
        # Its expressions are compiled by the owner, and not here.
        if len(stored) <= SHORT_BYTES and _SCHEMA not in stored:
            return self._make(version, stored)
        make = partial(self._make, version, stored)
        return await FOR_DEFINITIONS.run(workspace_in(stored), make, size=len(stored))

    def _make(self, version: str, stored: str) -> Ready:
        """Read a definition, unless it was read since: many may wait for one."""
        ready = self._ready.get(version)
        if ready is not None:
            return ready
        ready = self._read(stored)
        patterns = 0 if ready.schema is None else ready.schema.patterns
        size_bytes = read_bytes(stored) + patterns * PATTERN_BYTES
        return self._ready.put(version, ready, size_bytes, ready.definition.workspace or "")


def execution_settings(settings: Settings) -> ExecutionSettings:
    """Return the settings that an execution gets when it is submitted."""
    return ExecutionSettings(
        context_max_bytes=settings.context_max_bytes,
        foreach_max_items=settings.foreach_max_items,
        expected_callback_s=settings.expected_callback_s,
        max_descendants=settings.max_descendants,
        strict_mappings=settings.strict_mappings,
        turn_max_steps=settings.turn_max_steps,
        turn_max_bytes=settings.turn_max_bytes,
        turn_max_task_steps=settings.turn_max_task_steps,
        execution_max_tasks=settings.execution_max_tasks,
        foreach_in_portions=FOREACH_IN_PORTIONS,
    )


def checked_key(key: str | None) -> str | None:
    """Return a caller's idempotency key in its stored form; an empty one is none.

    Raises:
        RequestError: It is too long, or is one of those of triggers (30109).
    """
    if key is not None and key.startswith(PREFIX):
        # Who has the key of a firing first decides whether there is one.
        raise RequestError(
            f"idempotency keys that begin with {PREFIX} are those of triggers: choose another one"
        )
    return bounded_key(key)


def bounded_key(key: str | None) -> str | None:
    """Return an idempotency key in its stored form, whoever has made it; an empty one is none.

    Raises:
        RequestError: It is too long (30109).
    """
    if key is not None and len(key) > MOST_KEY_CHARACTERS:
        raise RequestError(f"an idempotency key has up to {MOST_KEY_CHARACTERS} characters")
    return key or None


def refuse_unposted(given: bytes | None, definition: WorkflowDefinition) -> None:
    """Refuse a completion callback, the submission's or else the definition's, with a bad address.

    Raises:
        ExecutionError: Its address is neither http nor https (30603).
        RequestError: The submission's has too many mapping rules (30109).
    """
    if given is not None:
        config = parse_callback(decode_json(given))
        rules = config.input_mappings or ()
        if expanded_rules(rules, definition.common_mapping or {}) > MOST_CALLBACK_RULES:
            raise RequestError(f"a callback has up to {MOST_CALLBACK_RULES} mapping rules")
        if encode_json(decode_json(given)).count(b"=~") > MOST_CALLBACK_PATTERNS:
            raise RequestError(
                f"a callback has up to {MOST_CALLBACK_PATTERNS} regular expressions (=~)"
            )
    else:
        config = definition.callback or CallbackConfig()
    address = (config.resource_name or "").strip()
    if address and scheme_of(address) not in HTTP_SCHEMES:
        shown = scheme_of(address) or "an address without a scheme"
        raise ExecutionError(
            f"a completion callback is posted to http:// or https://, not to {shown}",
            TRAVERSAL_FAILED,
        )


async def _check_schema(
    workspace: str, schema: InputSchema, document: JsonObject, size: int
) -> None:
    errors = schema.errors_if_few_steps(document) if size <= SHORT_BYTES else None
    if errors is None:
        errors = await FOR_SCHEMAS.run(workspace, lambda: schema.errors(document))
    if errors:
        raise RequestError(f"the data do not fit inputSchema: {'; '.join(errors)}")


def digest_of(document: JsonObject) -> str:
    """Return a digest that is the same for equal data in any notation."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def json_object(data: bytes) -> JsonObject:
    """Parse a body that must be a JSON object; no body, or null, is an empty one.

    Raises:
        RequestError: It is something else (422).
    """
    if not data.strip():
        return {}
    try:
        value: JsonValue = decode_untrusted_json(data)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}", http_status=UNPROCESSABLE) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object", http_status=UNPROCESSABLE)
    return value
