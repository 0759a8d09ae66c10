"""Submissions that are made together: one message to each owner, and one write.

That takes less than half as long for each, and is for definitions whose submissions need no check
or look-up of their own; `intake.py` does the others, one by one.

Used by `runtime/triggers`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from rillflow.errors import RillflowError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import DescriptorId, ExecutionId, parse_descriptor_id
from rillflow.ports.executions import Reply, Submission, error_of
from rillflow.runtime.definitions.catalogue import RELEASE, resolve_descriptor
from rillflow.runtime.submission.intake import (
    UNSURE,
    Options,
    Ready,
    Submissions,
    Suits,
    digest_of,
    json_object,
    refuse_unposted,
)
from rillflow.settings import ResourceCheck

SendMany: TypeAlias = Callable[[Sequence[Submission]], Awaitable[list[Reply]]]


class SubmissionRequest(NamedTuple):
    """What ``Submissions.submit`` is given."""

    descriptor_id: str
    data: bytes
    options: Options

    @property
    def may_be_plain(self) -> bool:
        """Tell whether nothing in it has to be looked up or checked for long."""
        options = self.options
        own = (options.callback, options.isolation, options.resource_check, options.holder)
        return options.is_new and len(self.data) <= SHORT_BYTES and not any(own)


class Plain(NamedTuple):
    """A definition whose submissions may all be accepted now, whatever their data."""

    found: DescriptorId
    ready: Ready
    check: ResourceCheck


Kinds: TypeAlias = Mapping[str, Plain | None]
"""By descriptor id what is submitted; None if its submissions are checked one by one."""


class PlainSubmissions(NamedTuple):
    """Submissions that are made, and not sent yet.

    Attributes:
        outcomes: Of each that was asked for why it was not made; None if it was, or if it is to be
            submitted alone.
        made: Those that were, by their number.
    """

    outcomes: list[ExecutionId | RillflowError | None]
    made: dict[int, Submission]


class GroupSubmissions(Submissions):
    """Submits executions of stored definitions, also many together."""

    async def submit_plain(
        self, asked: Sequence[SubmissionRequest], send: SendMany
    ) -> list[ExecutionId | RillflowError | None]:
        """Start executions together, as far as nothing has to be checked for each.

        When this returns, they are on disk.

        Returns:
            For each the execution, or why it was not started; None if it is to be submitted alone,
            since that takes a check or a look-up of its own.
        """
        kinds = await self.kinds({each.descriptor_id for each in asked if each.may_be_plain})
        made = self.make_plain(asked, kinds)
        replies = await send(list(made.made.values())) if made.made else []
        return await self.outcomes_of(asked, made, replies)

    def make_plain(
        self,
        asked: Sequence[SubmissionRequest],
        kinds: Kinds,
        *,
        at_ms: int | None = None,
        suits: Suits | None = None,
    ) -> PlainSubmissions:
        """Make submissions without sending them, as far as nothing has to be checked for each.

        They have the time ``at_ms``, now by default. Where an id has to suit, those for which none
        is found are to be submitted alone.
        """
        outcomes: list[ExecutionId | RillflowError | None] = [None] * len(asked)
        made: dict[int, Submission] = {}
        for number, each in enumerate(asked):
            kind = kinds.get(each.descriptor_id) if each.may_be_plain else None
            if kind is None:
                continue
            try:
                submission = self._made(kind, each, at_ms, suits)
            except RillflowError as error:
                outcomes[number] = error
            else:
                if suits is None or suits(submission.event.execution_id):
                    made[number] = submission
        return PlainSubmissions(outcomes, made)

    async def outcomes_of(
        self, asked: Sequence[SubmissionRequest], made: PlainSubmissions, replies: Sequence[Reply]
    ) -> list[ExecutionId | RillflowError | None]:
        """Return what has become of submissions that were sent; see ``submit_plain``."""
        outcomes = list(made.outcomes)
        for (number, submission), reply in zip(made.made.items(), replies, strict=True):
            outcomes[number] = submission.event.execution_id
            if reply.error is not None:
                outcomes[number] = await self._failed(asked[number], submission, error_of(reply))
        return outcomes

    async def are_still(self, kinds: Kinds) -> bool:
        """Tell whether submissions that were made earlier would be made, and accepted, now."""
        now = await self.kinds(kinds)
        return all(_is_same(kind, now[each]) for each, kind in kinds.items())

    async def kinds(self, ids: Collection[str]) -> Kinds:
        """Find out what submissions to some descriptors would start now."""
        return dict(zip(ids, await asyncio.gather(*map(self._plain, ids)), strict=True))

    async def _plain(self, descriptor_id: str) -> Plain | None:
        """Find a definition, as of now; None if its submissions are checked one by one."""
        try:
            named = parse_descriptor_id(descriptor_id)
            is_limited = self.admission.asks or named.business in self.quotas.by_workspace
            if self._hook is not None or is_limited:
                return None
            if named.version is None and named.alias is None:
                if await self._reads.rules("gray", (named.business, named.feature)):
                    return None
                named = named._replace(alias=RELEASE)
            found = await resolve_descriptor(self._reads, str(named))
            ready = await self._runnable(found.version or "")
            refuse_unposted(None, ready.definition)
            if ready.schema is not None or ready.definition.isolation == "dedicated":
                return None
            check = self.admission.resource_check(found.business, found.feature, None)
            await self.admission.check(found.business, found.feature, check)
        except RillflowError:
            return None  # who submits alone is told
        return Plain(found, ready, check)

    def _made(
        self, kind: Plain, asked: SubmissionRequest, at_ms: int | None, suits: Suits | None
    ) -> Submission:
        options, data = asked.options, asked.data
        self.admission.room.require(len(data))
        uid = self._caller_uid if options.uid is None else options.uid
        document = json_object(data)
        key = options.idempotency_key
        data = data if data.strip() else b"{}"
        event = self._event(
            kind.found, data, options, dedicated=False, uid=uid, at_ms=at_ms, suits=suits
        )
        digest = None if key is None else digest_of(document)
        return self._submission(kind.found, event, kind.check, key, digest)

    async def _failed(
        self, asked: SubmissionRequest, submission: Submission, error: RillflowError
    ) -> ExecutionId | RillflowError:
        """Return the execution that has the key already, else why none was started."""
        key, digest = submission.idempotency_key, submission.request_digest
        if key is None or digest is None or not isinstance(error, UNSURE):
            return error
        try:
            return await self._find(asked.descriptor_id, key, digest) or error
        except RillflowError as failure:
            return failure


def _is_same(kind: Plain | None, now: Plain | None) -> bool:
    return kind is None or (now is not None and (kind.found, kind.check) == (now.found, now.check))
