"""Settings of Ray that are missing in the environment that it passes to its processes.

Used by `actors/controller_actor.py` and `serve/stack/cluster_check.py`.
"""

from collections.abc import Container, Mapping
from typing import Final, NamedTuple

from rillflow.settings import is_loopback


class Finding(NamedTuple):
    """Something that is not as a deployment needs it.

    Attributes:
        sentence: What is wrong, what follows, and what to do.
        is_error: Whether it must be mended; otherwise it costs something.
    """

    sentence: str
    is_error: bool


_START: Final = "set it where `ray start` is called, as cluster.yaml does"
_TOKEN: Final = Finding(
    "Ray was started without RAY_AUTH_MODE=token, so whoever reaches its ports runs code as its"
    f" user: {_START}",
    is_error=True,
)
_SLOW: Final = {
    "RAY_SERVE_ENABLE_HA_PROXY": "requests come through Serve's own proxy, at a tenth of the rate",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "requests take a third longer",
}
"""What follows where a variable is not 1."""
_ON: Final = frozenset({"1", "true"})
_HEALTH_CHECKS: Final = (
    "RAY_health_check_initial_delay_ms",
    "RAY_health_check_period_ms",
    "RAY_health_check_timeout_ms",
    "RAY_health_check_failure_threshold",
)
_OPEN: Final = (
    "Ray was started without RAY_USE_TLS=1 on {address}, which is no loopback address, so whoever"
    " reaches its ports ends Ray by one call, or fills its memory, also without the token: start it"
    " with certificates, as cluster.yaml does, or have a firewall keep the ports to the nodes"
)
_NOT_FOUND: Final = "while Serve starts, functions are answered 404 and give up their callbacks"


def lacking(environment: Mapping[str, str]) -> list[Finding]:
    """Return what Ray was started without, errors first."""
    found = [] if environment.get("RAY_AUTH_MODE") == "token" else [_TOKEN]
    found += [
        Finding(f"Ray was started without {name}=1, so {effect}: {_START}", is_error=False)
        for name, effect in _SLOW.items()
        if environment.get(name) != "1"
    ]
    wanted = ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        wanted.append("RAY_SERVE_HAPROXY_BINARY_PATH")
    found += [
        Finding(f"Ray was started without {name}, so {_NOT_FOUND}: {_START}", is_error=False)
        for name in wanted
        if not environment.get(name)
    ]
    return found


def unencrypted(environment: Mapping[str, str], address: str) -> list[Finding]:
    """Return whether a node on this address talks to whoever reaches it."""
    if is_loopback(address) or environment.get("RAY_USE_TLS", "").lower() in _ON:
        return []
    return [Finding(_OPEN.format(address=address), is_error=False)]


def lacking_at_head(variables: Container[str]) -> list[Finding]:
    """Return what the head of a cluster was started without; no other node needs it."""
    missing = [name for name in _HEALTH_CHECKS if name not in variables]
    if not missing:
        return []
    sentence = (
        f"Ray's head was started without {', '.join(missing)}, so a node that has died is"
        f" noticed after some 15 s instead of 3: {_START}"
    )
    return [Finding(sentence, is_error=False)]
