"""What the text before ``://`` of a ``resourceName`` may be, and what was meant by another.

The protocols are those that Rillflow has built in (SEMANTICS 4.1); plugins add others.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from rillflow.definition.closest import did_you_mean
from rillflow.definition.model import FunctionTask
from rillflow.definition.nodes import Path, shown
from rillflow.definition.validation import Finding, is_blank

MODEL_PROTOCOLS: Final = ("chatgpt", "aliyun_ai")
"""Protocols of language models, whose addresses name no host."""
PROTOCOLS: Final = (
    *("http", "https", "function", "rillflow", "ab", "resource", "resourceRef"),
    *MODEL_PROTOCOLS,
)

HIDDEN: Final = "***"
"""Stands in the place of what is not shown."""

_FUNCTION: Final = 30410
_REFERENCE: Final = "${"


def without_user_info(address: str) -> str:
    """Return an address as it may be printed: user name and password are hidden.

    Where a password is not encoded as it must be, all that may belong to it is hidden.
    """
    scheme, separator, rest = address.partition("://")
    if "@" not in rest:
        return address
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority = rest[:end]
    if "@" in authority:
        return f"{scheme}{separator}{HIDDEN}@{authority.rpartition('@')[2]}{rest[end:]}"
    _, colon, port = authority.rpartition(":")
    if not colon or port.isdecimal() or authority.endswith("]"):
        return address  # the @ stands in the path or query
    return f"{scheme}{separator}{HIDDEN}@{rest.rpartition('@')[2]}"


def protocol_hint(protocol: str, others: Iterable[str] = ()) -> str:
    """Say which protocol was most likely meant; ``others`` are those of plugins."""
    if not protocol:
        return "an address begins with its protocol, as in http://host/path"
    lower = {each.lower(): each for each in (*PROTOCOLS, *others)}
    if protocol.lower() in lower:
        return f"did you mean `{lower[protocol.lower()]}`?"
    near = did_you_mean(protocol, (*PROTOCOLS, *others))
    return near or f"built in are {', '.join(PROTOCOLS)}; plugins add others"


def address_findings(task: FunctionTask, path: Path) -> Iterator[Finding]:
    """Generate a protocol that is not built in, where it looks like one that is, or is missing.

    A plugin may serve any name, so one that looks like no other is not told of.
    """
    name = (task.resource_name or "").strip()
    if task.resource is not None or not name or name.startswith(_REFERENCE):
        return
    key, protocol = "resourceProtocol", (task.resource_protocol or "").strip()
    if is_blank(protocol):
        scheme, separator, _ = name.partition("://")
        key, protocol = "resourceName", scheme if separator else ""
    if protocol in PROTOCOLS:
        return
    where, hint = (*path, key), protocol_hint(protocol)
    if not protocol:
        message = f"resourceName `{shown(name)}` has no protocol: the task fails"
        yield Finding(_FUNCTION, message, where, hint=hint)
    elif hint.startswith("did you mean"):
        message = f"no protocol `{shown(protocol)}` is built in: without a plugin the task fails"
        yield Finding(_FUNCTION, message, where, hint=hint)
