"""Kinds of values that settings have, and which of them are refused.

A wrong setting stops the start with one line, so each of these errors is one.

Used by `cli`, `runtime`, `serve` and `settings.py`.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from rillflow.ids import is_name
from rillflow.ports.storage.access import Quota
from rillflow.suggestions import closest

SWITCHES: Final[Mapping[str, bool]] = {
    "ENABLE_AUTH_RESOLVER": False,
    "ENABLE_DAG_INFO_LENGTH_CHECK": True,
    "ENABLE_FLOW_DAG_MULTI_REDO": True,
    "ENABLE_OPEN_PROMETHEUS": True,
    "ENABLE_RECORD_COMPLIANCE_WHEN_TASK_FINISHED": False,
    "ENABLE_RUNTIME_RESOURCE_STATUS_CHECK": True,
    "ENABLE_RUNTIME_STORAGE_USAGE_CHECK": True,
    "ENABLE_RUNTIME_SUBMIT_DAG_CHECK": True,
    "ENABLE_RUNTIME_SUBMIT_TRAFFIC_CONTROL": True,
    "ENABLE_TENANT_TASK_FLOW_AGGREGATE": False,
}
"""Rill Flow's switches that decide something here, with their defaults (spec 6.6)."""

IDLE_SWITCHES: Final = frozenset(
    {
        "ENABLE_AB_RESOURCE_WHEN_STASH",
        "ENABLE_AVIATOR_COMPILE_EXPRESSION_CACHE",
        "ENABLE_CONSERVATIVE_STRATEGY_WITH_FLOW_RESOURCE_SCORE",
        "ENABLE_DAG_CONTEXT_LENGTH_CHECK",
        "ENABLE_EXTREME_STRATEGY_WITH_FLOW_RESOURCE_SCORE",
        "ENABLE_FLOW_CONCURRENT_TASK_INDEPENDENT_CONTEXT",
        "ENABLE_FLOW_STASH",
        "ENABLE_FLOW_STASH_SCHEDULED_RESOURCE_SCORE_FETCH",
        "ENABLE_FLOW_STASH_SCHEDULED_TASK_POP",
        "ENABLE_FUNCTION_DISPATCH_RET_CHECK",
        "ENABLE_GET_DESCRIPTOR_FROM_CACHE",
        "ENABLE_SET_INPUT_OUTPUT",
        "ENABLE_TENANT_TASK_BUSINESS_AGGREGATE",
        "ENABLE_THREAD_ISOLATION",
        "ENABLE_UPDATE_TASK_SCORE_WHEN_POP",
    }
)
"""Those that may be set for Rill Flow's sake, and decide nothing here."""

EVERY_WORKSPACE: Final = "*"
"""Stands for all workspaces in ``subflow_workspaces``."""

_KEY: Final = re.compile(r"[\x21-\x7e]+")
_HOST_AND_PORT: Final = re.compile(r"([A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?)(:[0-9]{1,5})?")
_SECRET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MODULE: Final = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")
_ID: Final = re.compile(r"[a-zA-Z0-9]+([:_][a-zA-Z0-9]+)?")
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_Number = TypeVar("_Number", int, float)
_Entry = TypeVar("_Entry")


def listed(value: object) -> object:
    """Read ``a, b`` as the environment has it; a list of the file stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(name for part in value.split(",") if (name := part.strip()))


def _module(name: str) -> str:
    """Refuse what no import statement can name."""
    if not _MODULE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a module, such as package.module")
    return name


def _keys(value: object) -> object:
    """Read ``a, b``; a key that is missing between commas counts as an empty one."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _key(value: SecretStr) -> SecretStr:
    """Refuse a key that no header can carry, or that everybody knows."""
    if not _KEY.fullmatch(value.get_secret_value()):
        raise ValueError("a key is one word of visible ASCII characters, and not empty")
    return value


def _place(text: str) -> str:
    """Refuse what is no host name, ``*.suffix``, address or CIDR."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        if not _HOST.fullmatch(text):
            raise ValueError(f"{text!r} is no host, *.suffix, address or CIDR") from error
    return text


def _host_name(text: str) -> str:
    """Refuse what a ``Host`` header cannot name; ports do not count."""
    name = text.lower().strip("[]")
    if text == "*" or (_HOST.fullmatch(name) and not name.startswith("*")):
        return name
    try:
        return str(ipaddress.ip_address(name))
    except ValueError as error:
        raise ValueError(f"{text!r} is no host name or address, without a port") from error


def _origin(text: str) -> str:
    """Refuse what no ``Origin`` header can be, such as an address with a path."""
    origin = text.lower()
    if text != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{text!r} is no origin; one is https://console.example.com")
    default = ":80" if origin.startswith("http:") else ":443"
    return origin.removesuffix(default)


def _base(url: str) -> str:
    """Refuse what paths cannot be appended to, or what would show a password in messages."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("it is no http:// or https:// address")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("it has a user, a query or a fragment")
    return url.rstrip("/")


def _unlimited(value: object) -> object:
    """Read ``forever``, which neither the environment nor TOML can say otherwise."""
    return None if value == "forever" else value


def _secret_places(places: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Refuse what is no name of a secret, or no host."""
    for name, hosts in places.items():
        if not _SECRET.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a secret")
        for host in hosts:
            _called_place(host)
    return places


def _called_place(text: str) -> str:
    """Refuse what is no host, with a port or without."""
    if not _HOST.fullmatch(text) and not _HOST_AND_PORT.fullmatch(text):
        raise ValueError(f"{text!r} is no host, host:port, *.suffix or protocol")
    return text


def _hosts(by_host: dict[str, _Entry]) -> dict[str, _Entry]:
    """Refuse what no host of an address can be."""
    for host in by_host:
        if not _HOST_AND_PORT.fullmatch(host):
            raise ValueError(f"{host!r} is no host or host:port")
    return by_host


def _meant(near: str | None) -> str:
    return f", did you mean {near}?" if near else ""


def _switches(switches: dict[str, bool]) -> dict[str, bool]:
    """Refuse what Rill Flow has no switch for."""
    for name in sorted(switches.keys() - SWITCHES.keys() - IDLE_SWITCHES):
        near = closest(name.upper().replace("-", "_"), [*SWITCHES, *sorted(IDLE_SWITCHES)])
        raise ValueError(f"there is no switch {name}{_meant(near)}")
    return switches


def _ids(by_id: dict[str, _Entry]) -> dict[str, _Entry]:
    """Refuse what names no business and no service."""
    for name in by_id:
        if not _ID.fullmatch(name):
            raise ValueError(f"{name!r} is no business and no business:feature")
    return by_id


def _businesses(by_id: dict[str, _Entry]) -> dict[str, _Entry]:
    """Refuse what names no business."""
    for name in by_id:
        if not is_name(name):
            raise ValueError(f"{name!r} is no business")
    return by_id


def _workspaces(by_workspace: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Refuse what is neither a workspace nor ``*``."""
    for name in by_workspace.keys() | set().union(*by_workspace.values()):
        if name != EVERY_WORKSPACE and not is_name(name):
            raise ValueError(f"{name!r} is no workspace, and * is all")
    return by_workspace


_TOPICS: Final = re.compile(r"[A-Za-z0-9._*-]{1,249}")


def _topics(by_workspace: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Refuse what is neither a workspace nor ``*``, and what is the name of no topic."""
    _workspaces(dict.fromkeys(by_workspace, frozenset()))
    for topic in chain.from_iterable(by_workspace.values()):
        if not _TOPICS.fullmatch(topic):
            raise ValueError(f"{topic!r} is no topic: it has letters, digits and . _ - *")
    return by_workspace


def only(model: type[BaseModel]) -> BeforeValidator:
    """Return what refuses keys that the entries of a map do not have."""

    def refuse(entry: object) -> object:
        given = {str(key) for key in entry} if isinstance(entry, dict) else set()
        for key in sorted(given - model.model_fields.keys()):
            near = closest(key.lower().replace("-", "_"), model.model_fields)
            raise ValueError(f"there is no {key}{_meant(near)}")
        return entry

    return BeforeValidator(refuse)


class QuotaSetting(BaseModel):
    """The quota of a workspace; None is no limit.

    ``ray_share`` is the part of each resource of the cluster, above 0 and up to 1, for which the
    Ray functions of the workspace ask at once, for each dispatcher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submissions_per_s: Annotated[int | None, Field(ge=1)] = None
    running: Annotated[int | None, Field(ge=1)] = None
    artifact_bytes: Annotated[int | None, Field(ge=1)] = None
    store_bytes: Annotated[int | None, Field(ge=1)] = None
    ray_share: Annotated[float | None, Field(gt=0, le=1)] = None

    def as_quota(self) -> Quota:
        """Return what of it holds for submissions, as the rest of the stack knows it."""
        return Quota(**self.model_dump(exclude={"ray_share"}))


def idle_switches(switches: Iterable[str]) -> list[str]:
    """Say of each switch that is set and decides nothing here that it does not.

    They are not refused: settings may be taken over from a Rill Flow.
    """
    return [f"the switch {name} has no effect here" for name in sorted(IDLE_SWITCHES & {*switches})]


def matching_id(by_id: Mapping[str, object], business: str, feature: str) -> str | None:
    """Return the id under which something is set for a service, or else for its business.

    Services are ``business:feature``; ``business_feature`` is understood too.
    """
    for candidate in (f"{business}:{feature}", f"{business}_{feature}", business):
        if candidate in by_id:
            return candidate
    return None


BaseUrl: TypeAlias = Annotated[str, AfterValidator(_base)]
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
ModuleNames: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_module)], ...], NoDecode, BeforeValidator(listed)
]


class RayJob(BaseModel):
    """A Ray job that tasks may run: a command, and the name of its runtime environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entrypoint: Annotated[str, Field(min_length=1, max_length=8_192)]
    runtime_env: Annotated[str | None, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")] = None


RuntimeEnvName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
Folder: TypeAlias = Annotated[Path, AfterValidator(Path.absolute)]
Key: TypeAlias = Annotated[SecretStr, AfterValidator(_key)]
Keys: TypeAlias = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_keys)]
Places: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_place)], ...], NoDecode, BeforeValidator(listed)
]
CalledPlaces: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_called_place)], ...], NoDecode, BeforeValidator(listed)
]
HostNames: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_host_name)], ...], NoDecode, BeforeValidator(listed)
]
Origins: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(listed)
]
SecretPlaces: TypeAlias = Annotated[
    dict[str, Annotated[tuple[str, ...], BeforeValidator(listed)]], AfterValidator(_secret_places)
]
Limit: TypeAlias = Annotated[_Number | None, BeforeValidator(_unlimited)]
Rate: TypeAlias = Annotated[float, Field(ge=0.001, allow_inf_nan=False)]
HostRates: TypeAlias = Annotated[dict[str, Limit[Rate]], AfterValidator(_hosts)]
Switches: TypeAlias = Annotated[dict[str, bool], AfterValidator(_switches)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole."""
TraceQueryHost: TypeAlias = Annotated[
    str | None,
    Field(validation_alias=AliasChoices("RILLFLOW_TRACE_QUERY_HOST", "RILL_FLOW_TRACE_QUERY_HOST")),
]
"""An address that Rill Flow's variable may name too."""
ById: TypeAlias = Annotated[dict[str, _Entry], AfterValidator(_ids)]
SizeByBusiness: TypeAlias = Annotated[
    dict[str, Annotated[int, Field(ge=1)]], AfterValidator(_businesses)
]


class FlowHealth(BaseModel):
    """Thresholds below, or above, which submissions are refused; None is no limit.

    Rates are percentages, ``heap`` is a number of running executions. The figures are
    those of the executions submitted between the offsets, in minutes ago (spec 6.4).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    complete_rate: float | None = None
    success_rate: float | None = None
    heap: int | None = None
    start_offset_min: Annotated[int, Field(ge=0, le=5_256_000)] = 10
    end_offset_min: Annotated[int, Field(ge=0, le=5_256_000)] = 1


class GatewayTls(BaseModel):
    """Files for TLS with a gateway: who vouches for it, and who calls; in PEM form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Folder | None = None
    certificate: Folder | None = None
    key: Folder | None = None

    @model_validator(mode="after")
    def _has_a_certificate(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError("a key needs its certificate")
        return self


TlsByHost: TypeAlias = Annotated[
    dict[str, Annotated[GatewayTls, only(GatewayTls)]], AfterValidator(_hosts)
]
WorkspacesByWorkspace: TypeAlias = Annotated[dict[str, frozenset[str]], AfterValidator(_workspaces)]
TopicsByWorkspace: TypeAlias = Annotated[
    dict[str, Annotated[tuple[str, ...], BeforeValidator(listed)]], AfterValidator(_topics)
]
DEAD_LETTER_TOPICS: Final[dict[str, tuple[str, ...]]] = {
    EVERY_WORKSPACE: ("*dead", "*dead-letters", "*dead_letters", "*dlq", "*dlt", "*DLQ", "*DLT")
}
"""Topics whose name says that they have dead letters."""
Quotas: TypeAlias = Annotated[
    dict[str, Annotated[QuotaSetting, only(QuotaSetting)]], AfterValidator(_businesses)
]
