"""Identifiers: names, descriptor ids and execution ids (spec 5.4).

An execution id is ``<workspace>:<dagName>_c_<uuid>`` with a version 1 UUID, which
tells the submit time; 73 bits of it are random, so it cannot be guessed. Those of a
sub-flow are derived from the attempt that starts it and the secret key of its parent, so
that a repetition finds the same sub-flow and nobody else finds it. Another bit says whether
the execution has a Ray actor of its own, so that calls are routed by the id alone, without
a look-up. Ids of earlier releases have version 7, and are read as well.

Used by most packages.
"""

import hashlib
import re
import zlib
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import InvalidIdError

ExecutionId: TypeAlias = str
TaskName: TypeAlias = str

PARTITIONS: Final = 256
DEDICATED_LISTING: Final = PARTITIONS
DEDICATED_LISTINGS: Final = range(DEDICATED_LISTING, DEDICATED_LISTING + PARTITIONS)
"""Those of the dedicated executions of all partitions."""
"""Added to a partition where the store lists its dedicated executions."""
ID_KEY_BYTES: Final = 16
"""Length of the secret key by which an execution derives the ids of its sub-flows."""

_NAME: Final = re.compile(r"[a-zA-Z0-9]+")
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9]")
_SHOWN_CHARACTERS: Final = 60
LONGEST_NAME: Final = 100
"""Characters of a name that is added."""
LONGEST_DESCRIPTOR_ID: Final = 1_000
"""Characters of a descriptor id with the further parts that are ignored, since callers keep it."""
_FORM_OF_DESCRIPTOR_ID: Final = (
    "the form is business:feature, business:feature:alias or business:feature:md5_<hex>"
)
_FORM_OF_EXECUTION_ID: Final = "the form is business:feature_c_<uuid in lower case>"
_EXECUTION_ID: Final = re.compile(
    r"([a-zA-Z0-9]+):([a-zA-Z0-9]+)_c_"
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)
_DEDICATED_BIT: Final = 1
_DEDICATED_BIT_OF_7: Final = 1 << 64
_EARLIER_VERSION: Final = 7
_MADE_UP_NODE: Final = 1 << 40
"""The bit by which a node that is no machine's address is told."""
_TICKS_PER_MS: Final = 10_000
_TICKS_AT_EPOCH: Final = 0x01B21DD213814000
"""How many times 100 ns the Unix epoch is after 15 October 1582, where version 1 begins."""
_RECENT_IDS: Final = 4_096


class DescriptorId(NamedTuple):
    """Address of a stored definition.

    Both ``alias`` and ``version`` are None where the gray rules of the feature choose the
    alias. A version wins over an alias, which then only says how the version was found.
    ``version`` is the md5 of the canonical text.
    """

    business: str
    feature: str
    alias: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        third = f"md5_{self.version}" if self.version else self.alias
        return ":".join(part for part in (self.business, self.feature, third) if part)


def is_name(text: str | None) -> bool:
    """Tell whether a business, feature, alias or other plain name is well formed."""
    return text is not None and _NAME.fullmatch(text) is not None


def why_no_name(text: str | None, longest: int | None = None) -> str:
    """Say which rule of names a text breaks, and with what, in one line.

    ``longest`` is how many characters a name may have, None where nothing bounds them.
    """
    length = f"1 to {longest}" if longest else "one or more"
    rule = f"a name has {length} letters a-z, A-Z and digits 0-9"
    if not text:
        return f"{rule}; there is none" if text is None else f"{rule}; it is empty"
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
    odd = _NO_NAME.search(text)
    if odd:
        return f"{rule}; {shown!r} has {odd[0]!r}"
    return f"{rule}; {shown!r} has {len(text)}"


def parse_descriptor_id(text: str) -> DescriptorId:
    """Read ``business:feature[:alias | :md5_<hex32>]``; further parts are ignored.

    Raises:
        InvalidIdError: A part is missing or malformed, or the text is too long (30109).
    """
    if len(text) > LONGEST_DESCRIPTOR_ID:
        raise InvalidIdError(
            f"dagDescriptorId:{text[:_SHOWN_CHARACTERS]}... format error",
            hint=f"it has {len(text)} characters, and up to {LONGEST_DESCRIPTOR_ID} are possible",
        )
    parts = text.strip().split(":")
    third = parts[2] if len(parts) > 2 else None
    version = third.removeprefix("md5_") if third and third.startswith("md5_") else None
    plain = [*parts[:2], version or third] if third is not None else parts[:2]
    if len(parts) < 2:
        message = f"dagDescriptorId:{text} format error"
        raise InvalidIdError(message, hint=_FORM_OF_DESCRIPTOR_ID)
    for part in plain:
        if not is_name(part):
            hint = f"{_FORM_OF_DESCRIPTOR_ID}, and {why_no_name(part)}"
            raise InvalidIdError(f"dagDescriptorId:{text} format error", hint=hint)
    alias = None if version else third
    return DescriptorId(parts[0], parts[1], alias, version)


def service_of(execution_id: ExecutionId) -> tuple[str, str]:
    """Return business and feature of an execution id.

    Raises:
        InvalidIdError: The text is not an execution id.
    """
    match = _EXECUTION_ID.fullmatch(execution_id)
    if match is None:
        raise InvalidIdError(f"executionId:{execution_id} format error", hint=_FORM_OF_EXECUTION_ID)
    return match[1], match[2]


def workspace_of(an_id: str) -> str:
    """Return the workspace with which a well-formed id of an execution or definition begins."""
    return an_id.partition(":")[0]


def workflow_of(execution_id: ExecutionId) -> str:
    """Return ``business:feature`` of a well-formed execution id."""
    return execution_id.partition("_c_")[0]


def hidden_id(execution_id: ExecutionId) -> ExecutionId:
    """Return what stands for an id where it must not be known: its unique part is zeros."""
    return f"{workflow_of(execution_id)}_c_00000000-0000-0000-0000-000000000000"


def is_execution_id(text: str) -> bool:
    """Tell whether the text has the form of an execution id."""
    return _EXECUTION_ID.fullmatch(text) is not None


def new_execution_id(
    business: str, feature: str, *, at_ms: int, entropy: bytes, dedicated: bool = False
) -> ExecutionId:
    """Build an execution id.

    Args:
        business: Workspace of the definition.
        feature: Name of the definition.
        at_ms: Submit time, milliseconds since the epoch.
        entropy: 10 random bytes.
        dedicated: Whether the execution gets a Ray actor of its own.
    """
    ticks = at_ms * _TICKS_PER_MS + _TICKS_AT_EPOCH + int.from_bytes(entropy[8:10]) % _TICKS_PER_MS
    number = (ticks & 0xFFFFFFFF) << 96 | (ticks >> 32 & 0xFFFF) << 80 | (ticks >> 48 & 0xFFF) << 64
    number |= 1 << 76 | int.from_bytes(entropy[:8])
    number = number & ~(0b11 << 62) | 0b10 << 62 | _MADE_UP_NODE
    number = number | _DEDICATED_BIT if dedicated else number & ~_DEDICATED_BIT
    digits = f"{number:032x}"
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return f"{business}:{feature}_c_{uuid}"


def child_execution_id(
    business: str,
    feature: str,
    *,
    attempt: tuple[ExecutionId, TaskName, int],
    at_ms: int,
    key: bytes,
) -> ExecutionId:
    """Build the id of a sub-flow, the same for every repetition of one attempt.

    Args:
        business: Workspace of the sub-flow's definition.
        feature: Name of the sub-flow's definition.
        attempt: The parent execution, its task, and the number of the attempt.
        at_ms: When the attempt began, milliseconds since the epoch.
        key: The secret key of the parent; empty for one that an earlier release began,
            whose sub-flows go on to be found by the ids which that release derived.
    """
    entropy = hashlib.blake2b(_seed_of(attempt), key=key, digest_size=10).digest()
    return new_execution_id(business, feature, at_ms=at_ms, entropy=entropy)


def child_id_key(attempt: tuple[ExecutionId, TaskName, int], *, key: bytes) -> bytes:
    """Derive the secret key of a sub-flow from that of its parent; it tells nothing of it."""
    seed = _seed_of(attempt)
    return hashlib.blake2b(seed, key=key, digest_size=ID_KEY_BYTES, person=b"child key").digest()


def _seed_of(attempt: tuple[ExecutionId, TaskName, int]) -> bytes:
    return "\0".join(map(str, attempt)).encode()


def submitted_at_ms(execution_id: ExecutionId) -> int:
    """Decode the submit time, in milliseconds since the epoch, from an execution id."""
    number = _uuid_number(execution_id)
    if number >> 76 & 0xF == _EARLIER_VERSION:
        return number >> 80
    ticks = (number >> 64 & 0xFFF) << 48 | (number >> 80 & 0xFFFF) << 32 | number >> 96
    return (ticks - _TICKS_AT_EPOCH) // _TICKS_PER_MS


@lru_cache(maxsize=_RECENT_IDS)
def is_dedicated(execution_id: ExecutionId) -> bool:
    """Tell whether the execution has a Ray actor of its own."""
    number = _uuid_number(execution_id)
    is_earlier = number >> 76 & 0xF == _EARLIER_VERSION
    return bool(number & (_DEDICATED_BIT_OF_7 if is_earlier else _DEDICATED_BIT))


def partition_of(execution_id: ExecutionId) -> int:
    """Return the partition, 0 to 255; the same in every process and release."""
    return zlib.crc32(execution_id.encode()) % PARTITIONS


def listing_partition(execution_id: ExecutionId) -> int:
    """Return the partition under which an execution is listed until it has ended.

    Dedicated executions are listed apart from the shared ones of their partition.
    """
    home = partition_of(execution_id)
    return DEDICATED_LISTING + home if is_dedicated(execution_id) else home


def _uuid_number(execution_id: ExecutionId) -> int:
    match = _EXECUTION_ID.fullmatch(execution_id)
    if match is None:
        raise InvalidIdError(f"executionId:{execution_id} format error", hint=_FORM_OF_EXECUTION_ID)
    return int(match[3].replace("-", ""), 16)
