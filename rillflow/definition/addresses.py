"""The protocols before ``://`` of a ``resourceName``, and suggestions for unknown ones.

The protocols are those that Rillflow has built in (spec 4.1); plugins add others.

Used by most packages.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_plus

from rillflow.definition.checks.ray_options import without_effect
from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.model import CallbackConfig, FunctionTask, RayOptions
from rillflow.definition.secret_names import is_secret_parameter
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.ray_names import malformed
from rillflow.suggestions import did_you_mean

MODEL_PROTOCOLS: Final = ("chatgpt", "aliyun_ai")
"""Protocols of language models, whose addresses name no host."""
RAY_PROTOCOLS: Final = ("ray", "ray-actor", "ray-job", "serve")
"""Protocols of calls of Ray, whose answer is the outcome."""
PROTOCOLS: Final = (
    *("http", "https", "function", "rillflow", "ab", "resource", "resourceRef"),
    *MODEL_PROTOCOLS,
    *RAY_PROTOCOLS,
)

_MAY_BE_RAY: Final = (*RAY_PROTOCOLS, "ab", "resource", "resourceRef")
_POSTED: Final = ("http", "https")
HIDDEN: Final = "***"
"""Stands in the place of what is not shown."""

_BEFORE_AUTHORITY: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?=[/\\]))?[/\\]*")
_ACTOR: Final = re.compile(r"ray-actor://[^/@:\s]+@[^/@\s]+(?=/|$)")
"""An actor and its namespace, neither of which is a password."""
_ANY_USER_INFO: Final = re.compile(r"//[^/?#@\s]+@")
_PARAMETER: Final = re.compile(r"(?<=[?&;#])([^?&;#=\s]+)=(?!\$\{secret:)[^&;#\s]+")
"""One of an address, with a value; a reference to a secret is none."""
_FUNCTION: Final = 30410
_MAPPING: Final = 30406
_REFERENCE: Final = "${"


def without_user_info(address: str) -> str:
    """Return an address as it may be printed: user name and password are hidden.

    Addresses without a scheme, or with slips of the pen around it, are understood too. Where a
    password is not encoded as it must be, all that may belong to it is hidden. So are the values of
    parameters whose names suggest a secret, references to secrets apart.
    """
    shown = _without_user(address) if "@" in address else address
    return _PARAMETER.sub(_without_secret, shown) if "=" in shown else shown


def _without_user(address: str) -> str:
    actor = _ACTOR.match(address)
    if actor is not None:
        rest = address[actor.end() :]
        return f"{actor[0]}{_ANY_USER_INFO.sub(f'//{HIDDEN}@', rest)}"
    start = _BEFORE_AUTHORITY.match(address)
    begin = start.end() if start else 0
    end = min(
        (at for at in (address.find(each, begin) for each in "/?#\\") if at >= 0), default=None
    )
    authority = address[begin:end]
    rest = "" if end is None else address[end:]
    if "@" in authority:
        authority = f"{HIDDEN}@{authority.rpartition('@')[2]}"
    elif _is_cut_off(authority) and "@" in rest:
        authority, rest = "", f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return f"{address[:begin]}{authority}{_ANY_USER_INFO.sub(f'//{HIDDEN}@', rest)}"


def _without_secret(parameter: "re.Match[str]") -> str:
    name = unquote_plus(parameter[1])
    return f"{parameter[1]}={HIDDEN}" if is_secret_parameter(name) else parameter[0]


def _is_cut_off(authority: str) -> bool:
    """Tell whether what stands for a port is none, as when a password holds a slash."""
    _, colon, port = authority.rpartition(":")
    return bool(colon) and not port.isdecimal() and not authority.endswith("]")


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
        yield from _option_findings(task.ray_options, protocol, (*path, "rayOptions"))
        wrong = None if _REFERENCE in name else malformed(protocol, name)
        if wrong is not None:
            message = f"resourceName `{shown(name)}` {wrong[0]}: the task fails"
            yield Finding(_FUNCTION, message, (*path, "resourceName"), hint=wrong[1])
        return
    where, hint = (*path, key), protocol_hint(protocol)
    if not protocol:
        message = f"resourceName `{shown(without_user_info(name))}` has no protocol: the task fails"
        yield Finding(_FUNCTION, message, where, hint=hint)
    elif hint.startswith("did you mean"):
        message = f"no protocol `{shown(protocol)}` is built in: without a plugin the task fails"
        yield Finding(_FUNCTION, message, where, hint=hint)


def _option_findings(options: RayOptions | None, protocol: str, path: Path) -> Iterator[Finding]:
    if options is None:
        return
    if protocol not in _MAY_BE_RAY:
        yield Finding(_FUNCTION, f"rayOptions have no effect on a call of {protocol}", path)
    elif protocol in RAY_PROTOCOLS:
        for name in without_effect(options, protocol):
            message = f"rayOptions: {name} has no effect on a call of {protocol}"
            yield Finding(_FUNCTION, message, (*path, name))


def callback_findings(callback: CallbackConfig, path: Path) -> Iterator[Finding]:
    """Generate a completion callback that cannot be posted, so that submissions are refused."""
    name = (callback.resource_name or "").strip()
    if name and name.partition("://")[0] not in _POSTED:
        message = "a completion callback is posted to http:// or https://, so this one is refused"
        yield Finding(_MAPPING, message, (*path, "resourceName"))
