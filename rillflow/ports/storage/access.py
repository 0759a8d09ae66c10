"""API keys by name, and the audit of what was done with them, as the store keeps them.

Of keys only the hashes are kept. A key is 256 random bits, so a plain SHA-256 of it tells nothing
about it.

Used by `ports`, `runtime`, `serve`, `setting_values.py` and `stores`.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

PREFIX: Final = "rfk_"
"""Begins each key, so that programs that look for lost secrets recognise it."""
KEY_BYTES: Final = 32
KEY_ID_DIGITS: Final = 12
ROLES: Final = ("viewer", "submitter", "operator", "author", "admin")
"""What a key may do; each role may do what those before it may."""


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits; None is none.

    Attributes:
        submissions_per_s: Executions that may be started in a second.
        running: Executions that may be unfinished.
        artifact_bytes: Bytes of artifacts.
        store_bytes: Bytes that the store keeps of executions; keys have no such limit.
    """

    submissions_per_s: int | None = None
    running: int | None = None
    artifact_bytes: int | None = None
    store_bytes: int | None = None


class Holder(msgspec.Struct, frozen=True):
    """A key with a quota.

    Attributes:
        key_id: The first digits of its hash.
        name: Its name.
        quota: What it may have.
    """

    key_id: str
    name: str
    quota: Quota


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Times are milliseconds since the epoch.

    Attributes:
        name: Its name, which no other key has had.
        key_id: The first digits of the hash, which logs and the audit name.
        digest: The SHA-256 of the key in hexadecimal digits.
        role: One of ``ROLES``.
        workspaces: Those that it is limited to; none are all.
        created_at_ms: When it was made.
        expires_at_ms: When it ends by itself; None for never.
        revoked_at_ms: When it was revoked; None if it was not.
        quota: How much it may have.
        audits_submissions: Whether the audit names what is submitted with it.
    """

    name: str
    key_id: str
    digest: str
    role: str
    workspaces: tuple[str, ...] = ()
    created_at_ms: int = 0
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    quota: Quota = Quota()
    audits_submissions: bool = False

    def is_valid(self, at_ms: int) -> bool:
        """Tell whether the key may be used at a time."""
        is_over = self.expires_at_ms is not None and self.expires_at_ms <= at_ms
        return self.revoked_at_ms is None and not is_over


def new_key() -> str:
    """Return a key that nobody can guess."""
    return f"{PREFIX}{secrets.token_urlsafe(KEY_BYTES)}"


def digest_of(key: bytes) -> str:
    """Return the hash under which a key is kept."""
    return hashlib.sha256(key).hexdigest()


_key_decoder = msgspec.json.Decoder(ApiKey)


def encode_key(key: ApiKey) -> str:
    """Return a key as JSON text, for a row of a store."""
    return msgspec.json.encode(key).decode()


def decode_key(text: str | bytes) -> ApiKey:
    """Read what ``encode_key`` has written."""
    return _key_decoder.decode(text)


class ApiKeys(Protocol):
    """The keys of a deployment, with those that were revoked."""

    async def add_api_key(self, key: ApiKey, *, most: int) -> bool:
        """Keep a key, durably.

        Returns:
            False if its name is taken, or ``most`` keys are kept; nothing changes then.
        """
        ...

    async def api_keys(self) -> list[ApiKey]:
        """List all keys by name."""
        ...

    async def revoke_api_key(self, name: str, *, at_ms: int) -> bool:
        """Revoke a key, durably; one that is revoked stays as it is.

        Returns:
            False if there is no such key.
        """
        ...


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change that a caller has asked for; it has no values of executions.

    Attributes:
        at_ms: When it was answered, in milliseconds since the epoch.
        action: The route, without ``/flow/`` and ``.json``, such as ``cancel``.
        subject: What it is about: an execution, a definition, a key; empty if it names nothing.
        workspace: The workspace of the subject; empty if it is of none.
        key: The name of the caller's key; empty for the key of the settings, and without one.
        key_id: The first digits of its hash.
        address: Where the request came from, of IPv6 its network.
        status: The HTTP status of the answer.
        unnoted: How many refused changes of the caller have come before, since the last entry of
            one that was refused, and have no entry of their own.
    """

    at_ms: int
    action: str
    subject: str = ""
    workspace: str = ""
    key: str = ""
    key_id: str = ""
    address: str = ""
    status: int = 200
    unnoted: int = 0


class NumberedEntry(msgspec.Struct, frozen=True):
    """An entry with its place in the audit, which grows."""

    number: int
    entry: AuditEntry


_entry_decoder = msgspec.json.Decoder(AuditEntry)


def encode_entry(entry: AuditEntry) -> str:
    """Return an entry as JSON text, for a row of a store."""
    return msgspec.json.encode(entry).decode()


def decode_entry(text: str | bytes) -> AuditEntry:
    """Read what ``encode_entry`` has written."""
    return _entry_decoder.decode(text)


class Audit(Protocol):
    """The entries of the audit."""

    async def note_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries, durably."""
        ...

    async def audit_entries(
        self, *, before: int | None = None, workspaces: Sequence[str] = (), limit: int
    ) -> list[NumberedEntry]:
        """List entries, the newest first.

        Args:
            before: Only those before this number.
            workspaces: Only those of these workspaces; none are all.
            limit: How many at most.
        """
        ...

    async def trim_audit(self, *, before_ms: int, limit: int) -> int:
        """Remove up to ``limit`` entries that are older; return how many were removed."""
        ...
