"""Settings of a stack: environment ``RILLFLOW_*``, then ``rillflow.toml``, then defaults.

Maps are written as JSON in the environment and as tables in the file. Used by most packages.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rillflow.setting_values import (
    DEAD_LETTER_TOPICS,
    SWITCHES,
    BaseUrl,
    ById,
    CalledPlaces,
    FlowHealth,
    Folder,
    HostNames,
    HostRates,
    Key,
    Keys,
    Limit,
    ModuleNames,
    Names,
    Origins,
    Places,
    Quotas,
    Rate,
    RayJob,
    RuntimeEnvName,
    SecretPlaces,
    Share,
    SizeByBusiness,
    Switches,
    TlsByHost,
    TopicsByWorkspace,
    TraceQueryHost,
    WorkspacesByWorkspace,
    listed,
    only,
)
from rillflow.trusted_files.settings_file import PREFIX, read_settings_file

MEBIBYTE = 1024 * 1024
STACK_NOTE: Final = "stack.json"
"""File of the data folder that tells where the stack is that runs on it."""
STACK_LOCK: Final = "lock"
"""File of the data folder that a stack locks while it runs."""

UNKNOWN_CALLER: Final = 127001
CheckType: TypeAlias = Literal["short_board", "long_board", "key_resource", "skip"]


class ResourceCheck(BaseModel):
    """Which busy functions cause the refusal of a submission (spec 6.2)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    check_type: CheckType = "short_board"
    key_resources: tuple[str, ...] = ()


class Settings(BaseSettings):
    """Everything that can be set; times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address on which the HTTP API listens."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port of the HTTP API."""
    tls_cert: Folder | None = None
    """File of the certificate, in PEM form, with which the API answers by HTTPS only."""
    tls_key: Folder | None = None
    """File of its key, which only this user may read; none if it is in the same file."""
    ray_tls: bool = True
    """Whether the Ray of ``rillflow up`` encrypts its calls, with a certificate that each start
    makes, so that nobody else reaches Ray. Where ``RAY_USE_TLS`` is set, that counts."""
    data_dir: Path = Path(".rillflow")
    """Folder of the embedded store."""
    store: Annotated[str | None, Field(repr=False)] = None
    """URL of the store, which may contain a password; None is an SQLite file in ``data_dir``."""
    store_min_free_bytes: Annotated[int, Field(ge=0)] = 512 * MEBIBYTE
    """Space of the disk of an SQLite store that new executions, definitions, rules and triggers
    leave free, beyond 64 MiB for the ``-wal`` file; they are answered 503, and what runs goes on.
    Orders leave a half of it free, and so does the archive. Pages of the file that are in no use
    count, for a half of it."""
    namespace: str = "rillflow"
    """Ray namespace of the actors."""
    take_over: str = ""
    """Id of the lease of another deployment on the same store, which is asked to end its actors;
    the refusal to start names it."""
    release: str = ""
    """Any word. Another one than before has Ray Serve start its replicas anew, and so everything
    with the code that is on the machines now; `rillflow cluster deploy` sets it to that code's
    version."""
    execution_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of execution actors; they share the partitions."""
    dispatcher_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of dispatchers, which make outbound calls; a busy one has others make calls."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Number of Serve replicas of the HTTP API."""
    rebalance_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """Time between two checks of the controller whether to move an actor; 0 moves no actor."""
    drain_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    """How long a dispatcher that a deployment replaces is asked again and again to end its calls.
    After that it is ended, and the calls that it makes are repeated under their idempotency keys.
    """
    actor_nodes: Literal["all", "reserved"] = "all"
    """Nodes on which the controller places actors: ``reserved`` excludes nodes on which no
    processor is reserved, so that Ray's autoscaler can remove those nodes."""
    hot_executions: Annotated[int, Field(ge=1)] = 20_000
    """Most executions that an actor keeps in memory; others are activated by their next event."""
    hot_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 512 * MEBIBYTE
    """Most memory that the executions of an actor may take, as estimated."""

    keep_finished_s: Limit[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = 7 * 86_400.0
    """How long ended executions are kept, at least one minute; ``forever`` sets no limit."""
    keep_finished_count: Limit[Annotated[int, Field(ge=0)]] = None
    """How many ended executions are kept; ``forever`` sets no limit."""
    archive_dir: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """Folder in which each execution is archived as a line of JSON before its removal. It leaves a
    half of ``store_min_free_bytes`` free on its disk; below that nothing is removed."""
    artifact_store: Annotated[str | None, Field(repr=False)] = None
    """URL of the store of artifacts, as fsspec has it; None is a folder in ``data_dir``."""
    artifact_max_bytes: Annotated[int, Field(ge=1)] = 1024 * MEBIBYTE
    """Largest artifact."""
    artifacts_max_bytes: Annotated[int, Field(ge=1)] = 10 * 1024 * MEBIBYTE
    """Most bytes of the artifacts of one execution."""
    artifacts_min_free_bytes: Annotated[int, Field(ge=0)] = 1024 * MEBIBYTE
    """Space of a local disk that artifacts leave free; what would take more is answered 503."""
    artifacts_total_bytes: Annotated[int, Field(ge=1)] | None = None
    """Most bytes of all artifacts in the store; what would take more is answered 503."""

    log_format: Literal["lines", "json"] = "lines"
    """Format of logs: ``lines`` for people, or one ``json`` object a line."""
    profile_log: bool = False
    """Whether actors log every 10 s how often executions, tasks and calls took how long."""
    keep_audit_s: Limit[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = 365 * 86_400.0
    """How long the audit is kept; ``forever`` sets no limit."""

    api_key: Key | None = None
    """Key that callers must send in ``X-Rillflow-Api-Key``; None requires no key."""
    insecure: bool = False
    """Whether the server may listen beyond this machine without an ``api_key``."""
    allowed_hosts: HostNames = ()
    """Names in ``Host`` that are accepted without an ``api_key``, in addition to the loopback names
    of this machine, ``host`` and ``server_host``; ``*`` accepts any name."""
    allowed_origins: Origins = ()
    """Origins whose web pages may call the API and read its answers; ``*`` allows all origins."""
    connections_per_address: Annotated[int, Field(ge=1)] = 1_000
    """Most connections from one address, except this machine; more requests are refused (429).
    With ``tls_cert`` as many may begin within 10 s. Half as many requests, at least 100, may be for
    pages of the console within 10 s, and twice as many for health or by ``OPTIONS``."""
    body_start_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Time within which the first byte of a body must arrive; otherwise the answer is 408."""
    body_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Time within which a whole body must arrive; otherwise the answer is 408."""
    body_min_bytes_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 500.0
    """Lowest rate of a body over any ten seconds or so; otherwise the answer is 408. What has come
    faster before buys no time."""
    unfinished_bodies: Annotated[int, Field(ge=1)] = 512
    """Most bodies that have been arriving for more than a second; more are refused (503), of who
    has most. Callers with a key and callbacks that an execution waits for have the same number in
    addition, of which a key by name has half."""
    unfinished_bodies_per_address: Annotated[int, Field(ge=1)] = 128
    """Most such bodies from one address; more are refused (429)."""
    waiting_requests: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Most requests that wait by ``wait_s`` at a replica; any further one is answered at once."""
    waiting_requests_per_address: Annotated[int, Field(ge=1)] = 256
    """Most such requests from one address without the key, except this machine."""
    answers_max_bytes: Annotated[int, Field(ge=1)] = 256 * MEBIBYTE
    """Most bytes of large answers in transfer at a replica; more answers are refused (503)."""
    answers_max_bytes_per_address: Annotated[int, Field(ge=1)] = 64 * MEBIBYTE
    """Most such bytes to one address without the key, except this machine."""
    answer_min_bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 32 * 1024.0
    """Lowest rate at which a client must read a large answer. A client has 30 s in addition to
    the time at that rate; then its connection is closed."""
    header_max_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024
    """Largest headers of a request, all together."""

    server_host: str | None = None
    """Address at which functions reach this server; None is ``http://<host>:<port>``, and on a
    cluster where Serve listens."""
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
    """Secret that signs the callback addresses of the businesses in ``auth_businesses``."""
    auth_signature: Literal["request", "parameters"] = "request"
    """What callers sign when ``ENABLE_AUTH_RESOLVER`` is on: ``request`` is the whole request.
    ``parameters`` is the parameters only, as in Rill Flow: such a signature is valid for 24 hours
    and for any path and body, and signed callback addresses have the parameter ``purpose``."""
    auth_businesses: Names = ()
    """Business ids whose callback addresses are signed, comma-separated."""
    callback_keys: Keys = ()
    """Keys of signed callback addresses: the first one signs, each one is accepted."""
    callback_ttl_s: Annotated[int, Field(ge=1, le=315_360_000)] = 259_200
    """How long a signed callback address is valid."""
    plugins: Names = ()
    """Gateway plugins as ``module[:attribute]``, comma-separated."""

    ray_modules: ModuleNames = ()
    """Python modules whose functions tasks may call by ``ray://module:function``, comma-separated,
    with the modules inside them. An empty list allows none."""
    ray_path: Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(listed)] = ()
    """Folders in which Ray workers look for those modules before others, comma-separated."""

    ray_result_folders: Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(listed)] = ()
    """Folders whose files actors and deployments may return by a ``Path``, comma-separated. The
    file is read as the server's user, so name folders that hold nothing else."""
    ray_actors: Names = ()
    """Ray actors that tasks may call by ``ray-actor://name@namespace/method``, each as ``name`` or
    ``name@namespace``, comma-separated."""
    serve_applications: Names = ()
    """Ray Serve applications that tasks may call by ``serve://application``, comma-separated."""
    ray_runtime_envs: dict[RuntimeEnvName, dict[str, Any]] = {}
    """Ray runtime environments by the name that ``rayOptions`` of tasks give, for example
    ``{"vision": {"pip": ["pillow"]}}``."""
    ray_jobs: dict[RuntimeEnvName, RayJob] = {}
    """Ray jobs that tasks may run by ``ray-job://name``, each a command with the name of its
    runtime environment, for example
    ``{"train": {"entrypoint": "python train.py", "runtime_env": "vision"}}``."""
    ray_unclaimed_s: Annotated[float, Field(ge=1, le=31_536_000)] = 3_600.0
    """How long a detached Ray task, running or ended, exists without a dispatcher that asks for its
    outcome."""
    ray_small_calls: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Most calls of Ray functions at once, for each dispatcher, that ask for less than 0.1 of a
    processor and of a GPU; Ray has a process for each, and no resources that limit them."""

    connect_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """Time limit for opening a connection to a gateway."""
    call_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Time limit of a whole synchronous call whose task sets no limit."""
    longest_call_s: Annotated[float, Field(gt=0)] = 3_600.0
    """Highest time limit of a synchronous call, whatever limit its task sets."""
    transport_attempts: Annotated[int, Field(ge=1)] = 2
    """Number of tries to open a connection."""
    http_transport: Literal["own", "aiohttp"] = "own"
    """HTTP client with which dispatchers call functions."""
    call_answers_max_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 256 * MEBIBYTE
    """Most bytes of answers that a dispatcher holds for execution actors. At that limit it reads no
    further large answer. While they are read, answers of one host, whatever its ports, take at most
    half of what is left for them."""
    call_answer_min_bytes_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 32_768.0
    """Lowest rate at which an answer of a function fills the room that it holds, while other
    answers wait for room; otherwise, after ten seconds, its call fails. 0 asks for no rate."""
    limit_per_host: Annotated[int, Field(ge=1)] = 256
    """Most calls to one gateway host, one named Ray actor or one Serve application at once; from 16
    on, a workspace gets at most 8/9 of them."""
    rate_per_host: Limit[Rate] = None
    """Most calls to one gateway host that begin in a second; ``forever`` sets no limit."""
    rates_by_host: HostRates = {}
    """Values of ``rate_per_host`` for single hosts, by ``host`` or ``host:port``."""
    gateway_tls: TlsByHost = {}
    """Files for HTTPS with single gateways, by ``host`` or ``host:port``: ``ca`` (nobody else is
    trusted for that host then), ``certificate`` and ``key`` of the caller, in PEM form, for example
    ``{"gw:8443": {"ca": "ca.pem"}}``."""
    breaker_failures: Annotated[int, Field(ge=0)] = 0
    """Failures in a row that open the circuit of a host or function; 0 never opens it."""
    breaker_pause_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """First pause of an open circuit; each probe that fails doubles the pause."""
    breaker_longest_pause_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """Longest pause of an open circuit, and longest time for which one call waits for it."""
    egress_allow: Places = ()
    """Hosts, ``*.suffix``, addresses and CIDRs that calls may reach; an empty list allows all."""
    egress_deny: Places = ()
    """Hosts, ``*.suffix``, addresses and CIDRs that calls may not reach. ``egress_deny`` overrides
    ``egress_allow``. Addresses of cloud metadata are always denied."""
    egress_private: bool | None = None
    """Whether calls may reach loopback and private addresses that ``egress_allow`` does not name.
    Redirects from public addresses never lead there. None means yes on a server that listens on
    loopback, and no on any other server."""
    secrets_dir: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """Folder with one file per secret, for secrets without a ``RILLFLOW_SECRET_<NAME>``."""
    secret_hosts: SecretPlaces = {}
    """Hosts to which each secret may be sent, by its name: ``host``, ``host:port``, ``*.suffix``,
    or the protocol of a plugin or language model. Without an entry it may be sent to any host."""
    kafka_brokers: CalledPlaces = ()
    """Brokers that triggers may read from: ``host:port``, ``host`` or ``*.suffix``; none by
    default. Name those that you trust: a broker decides what its clients compute and keep."""
    kafka_ca_file: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """PEM file of the certificates by which Kafka brokers are known; None means the system's."""
    kafka_dead_letter_topics: TopicsByWorkspace = DEAD_LETTER_TOPICS
    """Topics for dead letters that triggers of each workspace, or of ``*``, the others, may name;
    ``*`` in a topic stands for any text."""
    chatgpt_base_url: BaseUrl = "https://api.openai.com/v1"
    """Base URL of OpenAI's API, or of a compatible one, for tasks of the protocol `chatgpt`."""
    aliyun_ai_base_url: BaseUrl = "https://dashscope.aliyuncs.com/api/v1"
    """Base URL of the API of DashScope, for tasks of the protocol `aliyun_ai`."""

    max_depth: Annotated[int, Field(ge=1)] = 10
    """Levels of nested tasks in a definition (spec Q67)."""
    submit_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a submission (spec 5.1)."""
    callback_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a callback, wake-up or redo (spec 5.1)."""
    context_max_bytes: Annotated[int, Field(ge=1024)] = 8 * MEBIBYTE
    """Most bytes of JSON that an event changes in a context or gives a task (contexts: twice)."""
    outputs_max_bytes: Annotated[int, Field(ge=1024)] = 64 * MEBIBYTE
    """Most bytes of outputs of all attempts of an execution's tasks; an answer beyond it fails.

    Where twice the number of values is more than the bytes, that counts.
    """
    large_value_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """Size above which a value is stored as a payload, once per execution, outside the journal."""
    foreach_max_items: Annotated[int, Field(ge=1)] = 20_000
    """Most items of one foreach. One event makes all its groups, while other executions wait."""
    max_descendants: Annotated[int, Field(ge=0)] = 1_000
    """Most sub-flows of an execution, at all levels together; a task that starts more fails."""
    turn_max_steps: Annotated[int, Field(ge=1_000)] = 2_000_000
    """Most steps of all expressions, conditions and mappings of one event or one preview."""
    turn_max_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 256 * MEBIBYTE
    """Most bytes of memory and JSON that those expressions, conditions and mappings make."""
    turn_max_task_steps: Annotated[int, Field(ge=1)] = 2_000
    """Most tasks and groups that one event makes, starts and ends; further events do the rest."""
    execution_max_tasks: Annotated[int, Field(ge=1)] = 50_000
    """Most tasks, and most groups, of an execution; a foreach or choice that makes more fails."""
    expected_callback_s: Annotated[float, Field(ge=0.001, le=315_360_000)] | None = None
    """Time after which a missing callback is polled for, or fails the attempt. None means never."""
    max_dedicated: Annotated[int, Field(ge=0)] | None = None
    """Most dedicated executions at once, each in a process of 39 MB and more; more are refused
    (429). Without it, what a quarter of the memory of an API replica's machine, or of its control
    group, holds, up to 256; on PostgreSQL, as many as half of its connections are enough for."""
    max_queued_submissions: Annotated[int, Field(ge=1)] = 5_000
    """Most unfinished submissions at an execution actor; more are refused (429)."""
    unknown_executions_per_minute: Limit[Annotated[int, Field(ge=1)]] = 600
    """Unsealed callbacks for unknown executions, or wrong keys, by address (``forever``: any)."""
    max_unanswered_calls: Annotated[int, Field(ge=1)] = 100_000
    """Most unanswered calls of an execution actor, 8/9 of one workspace; beyond it workspaces with
    more than a sixteenth of it start nothing (429)."""
    max_unanswered_bytes: Annotated[int, Field(ge=1024)] = 256 * MEBIBYTE
    """Most bytes of the inputs of these calls, shared likewise; then executions are refused."""
    submit_max_bytes_by_business: SizeByBusiness = {}
    """Values of ``submit_max_bytes`` for single businesses."""
    callback_max_bytes_by_business: SizeByBusiness = {}
    """Values of ``callback_max_bytes`` for single businesses."""
    enforce_input_schema: bool = False
    """Whether submissions must match ``inputSchema`` in all definitions, not only in those that set
    ``enforceInputSchema``."""
    strict_mappings: bool = False
    """Whether all definitions are ``strict``: a mapping rule without effect is a failure."""
    context_hook: str | None = None
    """Function, as ``module:attribute``, that may replace the data of a submission."""
    hooks: Names = ()
    """Hooks, as ``module:attribute``, that may veto operations on executions, comma-separated."""

    switches: Switches = {}
    """Values of Rill Flow's switches, by name; other switches have their defaults."""
    resource_checks: ById[Annotated[ResourceCheck, only(ResourceCheck)]] = {}
    """Overload check of submissions by service id or business id."""
    key_resource_any: bool = False
    """Whether one busy key resource refuses a submission, instead of all of them (spec Q9)."""
    submit_traffic_limits: ById[Annotated[int, Field(ge=0)]] = {}
    """Most submissions per second, by service id or business id."""
    workspace_quotas: Quotas = {}
    """Quotas of workspaces: ``submissions_per_s``, ``running``, ``store_bytes``,
    ``artifact_bytes``, ``ray_share``."""
    subflow_workspaces: WorkspacesByWorkspace = {}
    """Where workflows of each workspace, or of ``*``, may start sub-flows beside their own one."""
    storage_max_usage_percent: int = 90
    """Memory in use above which submissions are refused; 0 or less, or 100 or more, means never."""
    flow_health: ById[Annotated[FlowHealth, only(FlowHealth)]] = {}
    """Thresholds of flow health by service id or business id."""
    trace_sampling: Share = 0.0
    """Share of the executions that are traced, from 0 to 1; see telemetry.md."""
    trace_sampling_by_flow: ById[Share] = {}
    """Values of ``trace_sampling`` by service id or business id."""
    trace_query_host: TraceQueryHost = None
    """Address to which the console's links to traces lead."""

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
        given = read_settings_file(settings_cls.model_fields.keys())
        return init_settings, env_settings, InitSettingsSource(settings_cls, given)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.auth_businesses and not self.auth_secret:
            raise ValueError("auth_businesses needs auth_secret, which is empty")
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key needs tls_cert, which is not set")
        return self

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take settings of another release: what it did not know has its default."""
        known = type(self).model_fields.items()
        defaults = {name: each.get_default(call_default_factory=True) for name, each in known}
        super().__setstate__({**state, "__dict__": {**defaults, **state["__dict__"]}})

    @property
    def store_url(self) -> str:
        """URL of the store."""
        return self.store or f"sqlite:///{self.data_dir.resolve() / 'rillflow.db'}"

    @property
    def base_url(self) -> str:
        """Where functions reach this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "http" if self.tls_cert is None else "https"
        return (self.server_host or f"{scheme}://{host}:{self.port}").rstrip("/")

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


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's alone; a name other than localhost is not."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
