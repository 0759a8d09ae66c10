"""Settings of a stack: environment ``RILLFLOW_*``, then ``rillflow.toml``, then defaults.

Maps are written as JSON in the environment and as tables in the file.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rillflow.closest import closest
from rillflow.setting_values import (
    SWITCHES,
    BaseUrl,
    ById,
    HostNames,
    HostRates,
    Key,
    Keys,
    Limit,
    Names,
    Origins,
    Places,
    Rate,
    SecretPlaces,
    SizeByBusiness,
    Switches,
    only,
)

MEBIBYTE = 1024 * 1024
FILE: Final = "rillflow.toml"
STACK_NOTE: Final = "stack.json"
"""File of the data folder that tells where the stack is that runs on it."""
PREFIX: Final = "RILLFLOW_"
NO_SETTINGS: Final = frozenset(
    {"RILLFLOW_URL", "RILLFLOW_RUN_DIR", "RILLFLOW_FUZZ", "RILLFLOW_CORPUS"}
)
"""Variables with that prefix that the command line, a stack's processes and tests have."""

UNKNOWN_CALLER: Final = 127001

_LIKE_PREFIX: Final = re.compile(r"RILL?_?FLOW_")
CheckType: TypeAlias = Literal["short_board", "long_board", "key_resource", "skip"]


class ResourceCheck(BaseModel):
    """Which busy functions keep a submission from being taken (spec 6.2)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    check_type: CheckType = "short_board"
    key_resources: tuple[str, ...] = ()


class FlowHealth(BaseModel):
    """Below, or above, which figures nothing more is submitted; None is no limit.

    Rates are percentages, ``heap`` is a number of running executions. The figures are
    those of the executions submitted between the offsets, in minutes ago (spec 6.4).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    complete_rate: float | None = None
    success_rate: float | None = None
    heap: int | None = None
    start_offset_min: Annotated[int, Field(ge=0, le=5_256_000)] = 10
    end_offset_min: Annotated[int, Field(ge=0, le=5_256_000)] = 1


class Settings(BaseSettings):
    """Everything that can be set; times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        toml_file=FILE,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address that the HTTP API listens on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port of the HTTP API."""
    data_dir: Path = Path(".rillflow")
    """Folder of the embedded store."""
    store: Annotated[str | None, Field(repr=False)] = None
    """URL of the store, perhaps with a password; None is an SQLite file in ``data_dir``."""
    namespace: str = "rillflow"
    """Ray namespace of the actors."""
    execution_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Ray actors that share the partitions."""
    dispatcher_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Ray actors that make outbound calls; a gateway host belongs to one of them."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Serve replicas of the HTTP API."""
    rebalance_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """Between looks whether another node should have an actor; 0 moves none."""
    actor_nodes: Literal["all", "reserved"] = "all"
    """Nodes that actors are spread over: ``reserved`` leaves those alone where no processor is
    reserved, so that Ray's autoscaler may end them."""
    hot_executions: Annotated[int, Field(ge=1)] = 20_000
    """Executions an actor keeps in memory; the others come back on their next event."""
    hot_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 512 * MEBIBYTE
    """Memory that these may take, as far as it can be estimated."""

    keep_finished_s: Limit[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = 7 * 86_400.0
    """How long ended executions are kept, less than a minute as one; ``forever`` sets no limit."""
    keep_finished_count: Limit[Annotated[int, Field(ge=0)]] = None
    """How many ended executions are kept; ``forever`` sets no limit."""
    archive_dir: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """Folder that gets a line of JSON for every execution that is no longer kept."""

    api_key: Key | None = None
    """What callers must show in ``X-Rillflow-Api-Key``; None asks nobody."""
    insecure: bool = False
    """Whether to listen beyond this machine without an ``api_key``."""
    allowed_hosts: HostNames = ()
    """Names in ``Host`` that are taken without an ``api_key``, beside this machine's loopback,
    ``host`` and ``server_host``; ``*`` takes any."""
    allowed_origins: Origins = ()
    """Origins whose pages may call and read answers in a browser; ``*`` lets those of all."""
    connections_per_address: Annotated[int, Field(ge=1)] = 1_000
    """Connections of one address, this machine's apart, above which requests are refused (429)."""
    body_start_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Within which the first byte of a body must come, else 408."""
    body_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Within which a whole body must come, else 408."""
    body_min_bytes_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 500.0
    """How fast it must come on average, once it is late by some seconds, else 408."""
    unfinished_bodies: Annotated[int, Field(ge=1)] = 512
    """Bodies under way for more than a second above which more are refused (503); as many again
    may be those of callers with the key and of callbacks that an execution waits for."""
    unfinished_bodies_per_address: Annotated[int, Field(ge=1)] = 128
    """The same for the callers of one address (429)."""
    waiting_requests: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Requests with ``wait_s`` that wait at each replica; to one more its wait is over at once."""
    waiting_requests_per_address: Annotated[int, Field(ge=1)] = 256
    """The same for callers of one address without the key, this machine's apart."""
    answers_max_bytes: Annotated[int, Field(ge=1)] = 256 * MEBIBYTE
    """Bytes of large answers under way at each replica above which more are refused (503)."""
    answers_max_bytes_per_address: Annotated[int, Field(ge=1)] = 64 * MEBIBYTE
    """The same for callers of one address without the key, this machine's apart."""
    answer_min_bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 32 * 1024.0
    """How fast large answers must be read, beside 30 s, else the connection is closed."""
    header_max_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024
    """Most that the headers of a request may hold."""

    server_host: str | None = None
    """Where functions reach this server; None is ``http://<host>:<port>``."""
    callback_host: Annotated[
        str | None,
        Field(validation_alias=AliasChoices("RILLFLOW_CALLBACK_HOST", "RILL_FLOW_CALLBACK_URL")),
    ] = None
    """Replaces ``server_host`` in callback addresses (spec Q54)."""
    auth_secret: Annotated[
        str,
        Field(
            repr=False,
            validation_alias=AliasChoices("RILLFLOW_AUTH_SECRET", "rill_flow_auth_secret_key"),
        ),
    ] = ""
    """Signs callback addresses of the businesses in ``auth_businesses``."""
    auth_signature: Literal["request", "parameters"] = "request"
    """What callers sign where ``ENABLE_AUTH_RESOLVER`` is on: each request, or as in Rill Flow
    its parameters alone, which counts for 24 hours and is good for any path and body. With the
    latter, callback addresses that are signed have the parameter ``purpose``."""
    auth_businesses: Names = ()
    """Business ids whose callback addresses are signed, comma-separated."""
    callback_keys: Keys = ()
    """Keys of signed callback addresses: the first one signs, each one is accepted."""
    callback_ttl_s: Annotated[int, Field(ge=1, le=315_360_000)] = 259_200
    """How long a signed callback address is good for."""
    plugins: Names = ()
    """Dispatcher plugins by ``module[:attribute]``, comma-separated."""

    connect_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """For opening a connection to a gateway."""
    call_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """For a whole synchronous call."""
    longest_call_s: Annotated[float, Field(gt=0)] = 3_600.0
    """The same for tasks that say how long they may take, whatever they say."""
    transport_attempts: Annotated[int, Field(ge=1)] = 2
    """Tries to open a connection."""
    http_transport: Literal["own", "aiohttp"] = "own"
    """Which HTTP client dispatchers call functions with."""
    call_answers_max_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 256 * MEBIBYTE
    """Bytes of calls' answers that each dispatcher holds until they are taken, above which no
    more large ones are read; half of it are for one host while they are read."""
    limit_per_host: Annotated[int, Field(ge=1)] = 256
    """Calls to one gateway host at once; from 16 on a workspace has eight ninths at most."""
    rate_per_host: Limit[Rate] = None
    """Calls to one gateway host that may begin in a second; ``forever`` sets no limit."""
    rates_by_host: HostRates = {}
    """Replaces ``rate_per_host`` for some hosts, by ``host`` or ``host:port``."""
    breaker_failures: Annotated[int, Field(ge=0)] = 0
    """Failures in a row after which calls to a host or function wait; 0 never lets them wait."""
    breaker_pause_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """How long they wait at first; it doubles with each probe that fails."""
    breaker_longest_pause_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """The longest pause, and the longest that one call is held back."""
    egress_allow: Places = ()
    """Hosts, ``*.suffix``, addresses and CIDRs that calls may reach; empty allows all."""
    egress_deny: Places = ()
    """The same that calls may not reach; a denial wins. Cloud metadata is always denied."""
    egress_private: bool | None = None
    """Whether calls may reach loopback and private addresses that ``egress_allow`` does not name;
    None is yes on a server that listens on loopback, else no."""
    secrets_dir: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """Folder with a file for each secret that has no ``RILLFLOW_SECRET_<NAME>``."""
    secret_hosts: SecretPlaces = {}
    """Hosts to which each secret may be sent, by its name: ``host``, ``host:port``, ``*.suffix``,
    or the protocol of a plugin or language model. A secret that is not named may go anywhere."""

    chatgpt_base_url: BaseUrl = "https://api.openai.com/v1"
    """Where tasks of the protocol `chatgpt` find OpenAI's API, or one that speaks like it."""
    aliyun_ai_base_url: BaseUrl = "https://dashscope.aliyuncs.com/api/v1"
    """Where tasks of the protocol `aliyun_ai` find the API of DashScope."""

    max_depth: Annotated[int, Field(ge=1)] = 10
    """Levels of nested tasks in a definition (spec Q67)."""
    submit_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a submission (spec 5.1)."""
    callback_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a callback, wake-up or redo (spec 5.1)."""
    context_max_bytes: Annotated[int, Field(ge=1024)] = 8 * MEBIBYTE
    """Most that one step of an execution may change in its context, or give a task as input."""
    outputs_max_bytes: Annotated[int, Field(ge=1024)] = 64 * MEBIBYTE
    """Most that the tasks of an execution may keep of outputs; an answer beyond it is a failure."""
    large_value_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """Length above which a value is stored once for each execution, apart from its journal."""
    foreach_max_items: Annotated[int, Field(ge=1)] = 20_000
    """Most items of one foreach, all of which are made at once while other executions wait."""
    max_descendants: Annotated[int, Field(ge=0)] = 1_000
    """Most sub-flows of an execution, theirs included, at all levels; more fail their tasks."""
    turn_max_steps: Annotated[int, Field(ge=1_000)] = 2_000_000
    """Most steps of all expressions, conditions and mappings of one event, or of one preview."""
    turn_max_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 256 * MEBIBYTE
    """Most that all of those may make together, in bytes of memory and of JSON."""
    turn_max_task_steps: Annotated[int, Field(ge=1)] = 2_000
    """Tasks and groups that one event makes, starts and ends; others follow by further events."""
    execution_max_tasks: Annotated[int, Field(ge=1)] = 50_000
    """Most tasks of an execution, and most groups; a foreach or choice that makes more fails."""
    expected_callback_s: Annotated[float, Field(ge=0.001, le=315_360_000)] | None = None
    """When a callback is overdue: its function is asked, or its task fails; None is never."""
    max_dedicated: Annotated[int, Field(ge=0)] = 256
    """Dedicated executions that run at once above which no more are submitted (429): each has a
    process."""
    max_queued_submissions: Annotated[int, Field(ge=1)] = 5_000
    """Unfinished submissions at an execution actor above which more are refused (429)."""
    unknown_executions_per_minute: Limit[Annotated[int, Field(ge=1)]] = 600
    """Callbacks without a seal that one address may send, to each replica, for executions that
    do not exist; ``forever`` sets no limit."""
    max_unanswered_calls: Annotated[int, Field(ge=1)] = 100_000
    """Calls of an execution actor without an answer above which no submission is taken (429)."""
    submit_max_bytes_by_business: SizeByBusiness = {}
    """Replaces ``submit_max_bytes`` for some businesses."""
    callback_max_bytes_by_business: SizeByBusiness = {}
    """Replaces ``callback_max_bytes`` for some businesses."""
    enforce_input_schema: bool = False
    """Whether submissions must fit ``inputSchema`` also where the definition does not say so."""
    strict_mappings: bool = False
    """Whether all definitions count as ``strict``: rules that come to nothing are failures."""
    context_hook: str | None = None
    """``module:attribute`` of a function that may replace the data of a submission."""
    hooks: Names = ()
    """Hooks around what happens to executions by ``module:attribute``, comma-separated."""

    switches: Switches = {}
    """Rill Flow's switches by name, where they differ from their defaults."""
    resource_checks: ById[Annotated[ResourceCheck, only(ResourceCheck)]] = {}
    """Overload check of submissions by service id or business id."""
    key_resource_any: bool = False
    """Whether one busy key resource is enough to refuse; else all of them must be (spec Q9)."""
    submit_traffic_limits: ById[Annotated[int, Field(ge=0)]] = {}
    """Most submissions in a second, by service id or business id."""
    storage_max_usage_percent: int = 90
    """Memory in use above which nothing is submitted; up to 0, or from 100 on, means never."""
    flow_health: ById[Annotated[FlowHealth, only(FlowHealth)]] = {}
    """Thresholds of flow health by service id or business id."""
    trace_query_host: Annotated[
        str | None,
        Field(
            validation_alias=AliasChoices("RILLFLOW_TRACE_QUERY_HOST", "RILL_FLOW_TRACE_QUERY_HOST")
        ),
    ] = None
    """Where the console's links to traces lead."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _file_settings(settings_cls)

    @model_validator(mode="after")
    def _signs_with_a_secret(self) -> Self:
        if self.auth_businesses and not self.auth_secret:
            raise ValueError("auth_businesses are to be signed, but auth_secret is empty")
        return self

    @property
    def store_url(self) -> str:
        """URL of the store."""
        return self.store or f"sqlite:///{self.data_dir.resolve() / 'rillflow.db'}"

    @property
    def base_url(self) -> str:
        """Where functions reach this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.server_host or f"http://{host}:{self.port}").rstrip("/")

    @property
    def calls_private(self) -> bool:
        """Whether calls may reach loopback and private addresses."""
        return is_loopback(self.host) if self.egress_private is None else self.egress_private

    @property
    def callback_base_url(self) -> str:
        """Base of the callback addresses that functions are given."""
        return (self.callback_host or self.base_url).rstrip("/")

    @property
    def caller_uid(self) -> int:
        """Who calls, for gray and A/B rules: signed callers are 0, unknown ones 127001."""
        return 0 if self.switch("ENABLE_AUTH_RESOLVER") else UNKNOWN_CALLER

    def switch(self, name: str) -> bool:
        """Tell whether a switch is on; an unknown one is off."""
        return self.switches.get(name, SWITCHES[name]) if name in SWITCHES else False


def _file_settings(settings_cls: type[BaseSettings]) -> TomlConfigSettingsSource:
    """Read ``rillflow.toml``; a misspelt setting must not go unnoticed."""
    try:
        source = TomlConfigSettingsSource(settings_cls)
    except ValueError as error:
        raise ValueError(f"{FILE}: {error}") from error
    known = settings_cls.model_fields.keys()
    unknown = sorted(source.toml_data.keys() - known)
    if unknown:
        told = "; ".join(_unknown(name, source.toml_data[name], known) for name in unknown)
        raise ValueError(f"{FILE}: {told}")
    return source


def _unknown(name: str, value: object, known: Iterable[str]) -> str:
    """Say that a name of the file is no setting, and which one is likely to be meant."""
    near = closest(name.lower().replace("-", "_").removeprefix(PREFIX.lower()), sorted(known))
    hint = f", did you mean {near}?" if near else ""
    if near is None and isinstance(value, dict):
        hint = ", settings stand in no section"
    return f"there is no setting {name}{hint}"


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Say of each variable of the environment that looks like a setting that it is none.

    They are not refused: a release that knows fewer settings must start where a newer one did.
    """
    fields = (name.upper() for name in Settings.model_fields)
    known = {*fields, *(name.removeprefix(PREFIX) for name in NO_SETTINGS)}
    found = []
    for name in sorted(set(environment) - _other_spellings()):
        prefix = _LIKE_PREFIX.match(name.upper())
        word = name.upper()[prefix.end() :] if prefix else ""
        if prefix is None or word.startswith("SECRET_") or (prefix[0] == PREFIX) == (word in known):
            continue  # With another prefix it may be Rill Flow's, unless the rest is a setting.
        near = closest(word, sorted(known))
        hint = f"did you mean {PREFIX}{near}?" if near else "it is passed over"
        found.append(f"there is no setting {name}; {hint}")
    return found


def _other_spellings() -> set[str]:
    """Return the variables by which Rill Flow has a setting, and which are read here too."""
    aliases = (field.validation_alias for field in Settings.model_fields.values())
    return {
        str(name) for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices
    }


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's alone; a name other than localhost is not."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def matching_id(by_id: Mapping[str, object], business: str, feature: str) -> str | None:
    """Return the id under which something is set for a service, or else for its business.

    Services are ``business:feature``; ``business_feature`` is understood too.
    """
    for candidate in (f"{business}:{feature}", f"{business}_{feature}", business):
        if candidate in by_id:
            return candidate
    return None
