"""What the addresses of calls of Ray look like: the names behind ``ray://`` and others.

Used by `definition/addresses.py`, `flow/calls.py` and `ray_tasks/targets.py`.
"""

import re
from collections.abc import Mapping
from typing import Final

FUNCTION: Final = re.compile(r"(?P<module>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*):(?P<function>[A-Za-z]\w*)")
ACTOR: Final = re.compile(
    r"(?P<name>[^/@\s]{1,128})(?:@(?P<namespace>[^/@\s]{1,128}))?/(?P<method>[A-Za-z]\w*)"
)
APPLICATION: Final = re.compile(
    r"(?P<application>[^/\s]{1,128})(?:/(?P<deployment>[^/\s]{1,128}))?(?:/(?P<method>[A-Za-z]\w*))?"
)
FUNCTION_HINT: Final = "the form is ray://package.module:function"
ACTOR_HINT: Final = "the form is ray-actor://name/method or ray-actor://name@namespace/method"
APPLICATION_HINT: Final = (
    "the form is serve://application, followed by /deployment, or /deployment/method"
)
_FORMS: Final[Mapping[str, tuple["re.Pattern[str]", str, str]]] = {
    "ray": (FUNCTION, "names no function", FUNCTION_HINT),
    "ray-actor": (ACTOR, "names no method of an actor", ACTOR_HINT),
    "serve": (APPLICATION, "names no Serve application", APPLICATION_HINT),
}


def malformed(protocol: str, address: str) -> tuple[str, str] | None:
    """Say of what an address names nothing, and what the form is; None if it may name something.

    Args:
        protocol: That of the call.
        address: With or without the protocol.
    """
    pattern, said, hint = _FORMS.get(protocol, (None, "", ""))
    named = address.partition("://")[2] or address
    if pattern is None or pattern.fullmatch(named):
        return None
    return said, hint
