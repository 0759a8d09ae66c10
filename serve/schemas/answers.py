"""Models of the answers about executions, for the OpenAPI document (spec 5.2, 5.3).

Routers name them as response models. Answers are written from stored JSON and do not pass through
these models; ``tests/api/test_document.py`` compares the two.

Used by `serve/schemas`, `serve/routes` and `serve/routes/console`.
"""

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field

Object: TypeAlias = dict[str, Any]


class Refusal(BaseModel):
    """Why a request was refused."""

    error_code: int = Field(
        description="Rill Flow's code; docs/http.md has a table.", examples=[30109]
    )
    error: str
    hint: str | None = Field(
        default=None, description="Details: the broken rule and its value, or a suggestion."
    )
    pass_through: bool = Field(
        default=False, description="Whether callers may show the text to users."
    )


class TimeInfo(BaseModel):
    """When an attempt ran, in milliseconds since the epoch."""

    start_time: int
    end_time: int | None = None
    expected_cost: int | None = None
    error: str | None = Field(
        default=None, description="The message with which this attempt of a task failed."
    )


class Invocation(BaseModel):
    """The attempts at a task, or at an execution."""

    invoke_id: str | None = None
    code: str | None = None
    msg: str | None = None
    input: Object | None = None
    output: Object | None = None
    referenced_dag_execution_id: str | None = None
    invoke_time_infos: list[TimeInfo] | None = None
    progress_args: Object | None = None
    ext: Object | None = None
    hint: str | None = Field(default=None, description="Details of the failure of the last call.")
    callback: Object | None = None
    dag_execution_routes: list[Object] | None = None


class MappingWarning(BaseModel):
    """A mapping rule without effect."""

    mappings: str = Field(description="The list of mappings that contains the rule.")
    number: int = Field(
        description="Position of the rule in the list, from 1; 0 is the whole list."
    )
    rule: str = Field(description="The rule: its source and its target.")
    kind: Literal[
        "missing",
        "null",
        "bad_path",
        "transform_failed",
        "transform_nil",
        "not_written",
        "root",
        "not_kept",
        "literal_path",
        "no_source",
        "no_target",
        "no_output",
    ]
    reason: str


class Progress(BaseModel):
    """What the function of a task has last reported of its progress."""

    time: int = Field(description="Milliseconds since the epoch.")
    fraction: float | None = Field(default=None, description="From 0 to 1.")
    message: str | None = None


class LogPart(BaseModel):
    """A part of a log file of a Ray worker, in bytes."""

    name: str
    begin: int
    end: int | None = Field(default=None, description="None while the function runs.")


class LogPlace(BaseModel):
    """Where the output of a function of Ray is; `logs.json` shows it."""

    node: str
    parts: list[LogPart]


class Task(BaseModel):
    """One task instance."""

    name: str
    status: Literal[
        "NOT_STARTED",
        "READY",
        "RUNNING",
        "STASHED",
        "KEY_SUCCEED",
        "SUCCEEDED",
        "FAILED",
        "SKIPPED",
    ]
    contains_sub: bool = Field(description="Whether it is a foreach or a choice.")
    next: list[str]
    invoke_msg: Invocation
    sub_group_index_to_status: dict[str, str]
    sub_group_key_judgement_mapping: dict[str, bool]
    sub_group_index_to_identity: Object
    task: Object = Field(description="The task's definition.")
    mapping_warnings: int = Field(default=0, description="Number of mapping warnings of the task.")
    warnings: list[MappingWarning] = Field(default=[], description="The first mapping warnings.")
    progress: Progress | None = None
    log: LogPlace | None = None


class Execution(BaseModel):
    """One execution; for an unknown one only the empty fields are present."""

    workspace: str | None = None
    dag_name: str | None = None
    version: str | None = None
    type: str | None = None
    input_schema: str | None = None
    dag_invoke_msg: Invocation | None = None
    dag_status: Literal["NOT_STARTED", "RUNNING", "KEY_SUCCEED", "SUCCEED", "FAILED"] | None = None
    execution_id: str | None = None
    process: int | None = Field(default=None, description="Progress, 0 to 100.")
    tasks: dict[str, Task] | Literal["{}"] | None = None
    context: Object | None = None
    invoke_summary: Object
    trace_url: str | None = None
    paused: bool = Field(default=False, description="Whether the execution is paused.")
    mapping_warnings: int = Field(default=0, description="Number of mapping warnings of all tasks.")
    warnings: list[MappingWarning] = Field(
        default=[], description="Mapping warnings of the completion callback."
    )
    quarantine: str | None = Field(default=None, description="Why the execution is quarantined.")


class ShownExecution(BaseModel):
    """An execution."""

    ret: Execution


class Submitted(BaseModel):
    """The new execution; `ret` if it ended while the submission waited."""

    execution_id: str
    ret: Execution | None = None


class Done(BaseModel):
    """The request took effect, or repeated one that had."""

    result: Literal["ok"]
    duplicate: bool = Field(
        default=False, description="Whether it was a repetition and changed nothing."
    )


class Completed(BaseModel):
    """Whether an execution was ended by hand: code 0, or -1 with the reason."""

    code: Literal["0", "-1"]
    message: str


class Group(BaseModel):
    """Members of a group by instance name, or the text `{}`."""

    tasks: dict[str, Task] | Literal["{}"]


class ShownGroup(BaseModel):
    """The members of a group."""

    ret: Group


class LogText(BaseModel):
    """What a function has printed into one stream."""

    name: Literal["out", "err"]
    text: str
    is_cut: bool = Field(description="Whether only the end is shown.")


class Log(BaseModel):
    """What a function has printed; without a log, nothing."""

    streams: list[LogText] | None = None


class ShownLog(BaseModel):
    """The log of a task."""

    ret: Log


class ShownContext(BaseModel):
    """A context; without an id, code -1 and a message."""

    ret: Object | None = None
    code: int | None = None
    msg: str | None = None


class Flag(BaseModel):
    """Whether something was done."""

    ret: bool


class Alive(BaseModel):
    """The service answers."""

    ret: Literal["ok"]


class Problem(BaseModel):
    """One thing that is wrong, or suspicious, with a definition."""

    line: int = Field(description="From 1; 0 is unknown.")
    column: int = Field(description="From 1; 0 is unknown.")
    code: int
    message: str
    hint: str
    severity: Literal["error", "warning"]


class Validation(BaseModel):
    """All errors and warnings of a definition; `valid` means that it may be added."""

    valid: bool
    problems: list[Problem]


class Document(BaseModel):
    """The three roots of a mapping."""

    context: Any = None
    input: Any = None
    output: Any = None
    warnings: list[MappingWarning] = Field(
        default=[], description="Mapping warnings, the first 20."
    )


class Evaluation(BaseModel):
    """The result of mapping rules."""

    ret: Document


class DispatchParameters(BaseModel):
    """The request that a function would get."""

    url: str
    body: Object | None = None


class ShownDispatchParameters(BaseModel):
    """The request that a function would get."""

    ret: DispatchParameters


class Dependency(BaseModel):
    """A function, and the tasks that call it."""

    resource_name: str
    names: list[str]


class Dependencies(BaseModel):
    """Functions that a definition calls."""

    dependencies: list[Dependency]


class ShownDependencies(BaseModel):
    """Functions that a definition calls."""

    ret: Dependencies


class Envelope(BaseModel):
    """The console's envelope."""

    data: Any = None
    message: str
    success: bool


class Circuit(BaseModel):
    """Whether calls are held back because the last ones failed."""

    state: Literal["closed", "open", "half-open"] = Field(
        description="Half-open: one call probes the host, or may do so."
    )
    failures_in_a_row: int
    open_for_s: float = Field(description="Seconds until the next call may go out.")


class GatewayHost(BaseModel):
    """The calls between a dispatcher and one gateway host."""

    host: str = Field(examples=["http://gateway.example:8080"])
    under_way: int = Field(description="Calls in flight: sent and not answered.")
    waiting: int = Field(description="Calls that wait for `limit_per_host` or the rate.")
    held: int = Field(description="Calls that wait for a circuit.")
    idle_s: float | None = Field(
        default=None,
        description="Seconds since the last call ended; absent while a call is in flight.",
    )
    rate_per_s: float | None = Field(
        default=None, description="Most calls that begin in a second; absent without a limit."
    )
    warnings: list[str] = Field(
        default=[], description="What calls wait for in vain, such as a node that has no GPU."
    )
    circuit: Circuit
    functions: dict[str, Circuit] = Field(
        description="By address, the functions whose last call failed."
    )


class DispatcherHosts(BaseModel):
    """The gateway hosts of one dispatcher."""

    dispatcher: int
    reached: bool = Field(description="False when the dispatcher did not answer in time.")
    hosts: list[GatewayHost]


class Gateways(BaseModel):
    """The gateway hosts that are called or failing now."""

    dispatchers: list[DispatcherHosts]


class EventLoop(BaseModel):
    """How long the event loop of one process was blocked."""

    process: str = Field(examples=["replica"])
    reached: bool = Field(description="False when the process did not answer in time.")
    pid: int | None = None
    longest_ms: float | None = Field(default=None, description="The longest turn since the start.")
    longest_of_minute_ms: float | None = Field(
        default=None, description="The longest turn of the last minute."
    )
    slow_turns: int | None = Field(default=None, description="Number of turns longer than 50 ms.")


class EventLoops(BaseModel):
    """The event loops of the stack."""

    event_loops: list[EventLoop]


class ClusterReason(BaseModel):
    """Why a deployment is not as wanted."""

    code: str = Field(examples=["not_converged"])
    message: str


class WantedDeployment(BaseModel):
    """What should run."""

    settings_version: int = Field(description="Grows with each change of what actors use.")
    settings_digest: str = Field(description="Of the settings that actors use, without secrets.")
    code_version: str = Field(
        description="Version of the package, a digest of its files, and its protocol."
    )
    partition_map: int = Field(
        description="The version at which the number of execution actors changed last."
    )
    execution_actors: int
    dispatchers: int


class ClusterController(BaseModel):
    """The controller of a deployment."""

    node: str
    pid: int
    settings_version: int
    steps: int = Field(description="How many steps it has done since it began.")
    reasons: list[ClusterReason] = Field(description="Empty once everything is as wanted.")
    causes: list[str] = Field(description="The errors behind the reasons.")
    warnings: list[str] = Field(description="What Ray was started without, and what follows.")


class ClusterActor(BaseModel):
    """One actor; the versions are left out where it does not tell them."""

    name: str = Field(examples=["rillflow:execution:0"])
    node: str = Field(description="The id of the Ray node that it is on.")
    address: str | None = Field(default=None, description="The node's address and host name.")
    pid: int
    ready: bool = Field(description="Whether it takes calls.")
    current: bool = Field(description="Whether it was started with what is wanted.")
    settings_version: int | None = None
    settings_digest: str | None = None
    code_version: str | None = None
    partition_map: int | None = None
    partitions: int = Field(description="How many partitions it owns.")
    epoch: int = Field(description="The epoch under which it owns them.")
    hot: int = Field(description="Executions in its memory that have not ended.")
    calls: int = Field(description="Calls of functions under way.")
    stored: int | None = Field(
        default=None,
        description="Executions of its partitions in the store that have not ended, unless"
        " there are more than 20,000 in all.",
    )
    protocol: int | None = Field(default=None, description="What it speaks with other processes.")
    queue: int | None = Field(default=None, description="Messages that it is at, or that wait.")
    append_ms: float | None = Field(
        default=None, description="How long an append to the store takes, on average, in ms."
    )
    unreachable_callbacks: str | None = Field(
        default=None, description="The address for callbacks, while it does not answer."
    )
    restarts: int | None = Field(
        default=None, description="Deaths of its process that the controller has seen."
    )
    fencings: int | None = Field(
        default=None, description="How often another owner had taken its partitions."
    )


class Holder(BaseModel):
    """Which actor holds an execution, and where; without a node it does not answer."""

    actor: str
    node: str | None = None
    address: str | None = None


class Cluster(BaseModel):
    """The actors of a deployment beside what is wanted."""

    converged: bool
    wanted: WantedDeployment | None = None
    controller: ClusterController | None = None
    actors: list[ClusterActor]
    silent: list[str] = Field(description="Names of actors that should be there or answer.")
    unfinished_executions: int | None = Field(
        default=None, description="How many executions of the store have not ended."
    )
    holders: dict[str, Holder] | None = Field(
        default=None, description="The actor of each execution that was asked for."
    )


class MetricNames(BaseModel):
    """The names of metrics."""

    names: list[str]
