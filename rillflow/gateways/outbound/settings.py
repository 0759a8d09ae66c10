"""The settings of the HTTP gateway.

A dispatcher derives them from those of the stack, so that no gateway reads the environment.

Used by `actors/dispatcher_actor.py`, `gateways/http` and `gateways/http_client`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.gateways.outbound.egress import EgressPolicy, EgressRules


class BreakerPolicy(msgspec.Struct, frozen=True):
    """When a circuit opens: after ``failures`` in a row (0 is never), first for ``pause_s``.

    The pause doubles with each failed probe, up to ``longest_pause_s``, which is also the longest
    that one call is held back.
    """

    failures: int = 0
    pause_s: float = 1.0
    longest_pause_s: float = 10.0


class TlsFiles(msgspec.Struct, frozen=True):
    """Files for TLS with a host: who vouches for it, and who calls; None is what the system has."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of outbound calls; times in seconds, sizes in bytes.

    ``server_host`` is the address of this server for functions; ``callback_host`` replaces it in
    callback addresses only (spec Q54). ``auth_businesses`` are the businesses whose callback
    addresses are signed with ``auth_secret``. With ``marks_callbacks`` the signed text says that it
    is a callback address, because callers sign their parameters in the same way. With
    ``callback_keys`` every address is sealed with the first of them, for ``callback_ttl_s``
    seconds; without keys for callbacks, they are those of artifacts. ``transport_attempts`` counts
    tries to open a connection; a request that was sent is never sent again (spec 9.2).
    ``keep_alive_s`` is below the 5 s after which common servers close, so a call seldom meets a
    closing connection. ``secret_hosts`` has the hosts, and protocols without hosts, to which a
    secret may be sent. Rates are calls that may begin in a second; None sets no limit. The base
    URLs are those of the language models' APIs.
    """

    server_host: str = "http://127.0.0.1:8080"
    callback_host: str | None = None
    auth_secret: str = ""
    auth_businesses: frozenset[str] = frozenset()
    marks_callbacks: bool = False
    callback_keys: tuple[str, ...] = ()
    callback_ttl_s: int = 259_200
    connect_timeout_s: float = 2.0
    call_timeout_s: float = 30.0
    longest_call_s: float = 3_600.0
    transport_attempts: int = 2
    max_response_bytes: int = 10 * 1024 * 1024
    max_redirects: int = 5
    limit_per_host: int = 256
    pool_size: int = 1024
    rate_per_host: float | None = None
    rates_by_host: Mapping[str, float | None] = {}
    tls_by_host: Mapping[str, TlsFiles] = {}
    breaker: BreakerPolicy = BreakerPolicy()
    keep_alive_s: float = 4.0
    transport: Literal["own", "aiohttp"] = "own"
    egress: EgressPolicy = EgressRules()
    secrets_dir: Path | None = None
    secret_hosts: Mapping[str, tuple[str, ...]] = {}
    artifacts: ArtifactSettings | None = None
    chatgpt_base_url: str = "https://api.openai.com/v1"
    aliyun_ai_base_url: str = "https://dashscope.aliyuncs.com/api/v1"

    def __repr__(self) -> str:
        return f"HttpSettings(server_host={self.server_host!r}, ...)"
