"""The model of a workflow definition after parsing (spec 1.2 to 1.5).

Names are Python's, with Rill Flow's camelCase spelling as aliases. Every field that Rill Flow types
as text is text here too, with the scalar's source text (``version: 1.10`` is ``"1.10"``); a missing
list or map is None, not empty.

Used by `core`, `definition`, `flow`, `runtime` and `serve`.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rillflow.jsontypes import JsonValue


class _Spec(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True
    )


class MappingRule(_Spec):
    """One copy rule (spec 1.5); ``tolerance`` None means tolerant."""

    source: str | None = None
    transform: str | None = None
    target: str | None = None
    reference: str | None = None
    tolerance: bool | None = None
    variable: str | None = None


class Timeline(_Spec):
    """Time limits; every value is a literal or a path, kept as text."""

    timeout_s: Annotated[str | None, Field(alias="timeoutInSeconds")] = None
    skip_on_timeout: str | None = None
    suspense_interval_s: Annotated[str | None, Field(alias="suspenseIntervalSeconds")] = None
    suspense_timestamp_ms: Annotated[str | None, Field(alias="suspenseTimestamp")] = None


class Retry(_Spec):
    """How often, and how far apart, a failed attempt is made again (spec 3.12)."""

    max_retries: Annotated[int | None, Field(alias="maxRetryTimes")] = None
    interval_s: Annotated[int | None, Field(alias="intervalInSeconds")] = None
    max_interval_s: Annotated[int | None, Field(alias="maxIntervalInSeconds")] = None
    multiplier: float | None = None
    jitter: float | None = None
    conditions: tuple[str, ...] | None = None


class Polling(_Spec):
    """How often a gateway is asked for the result of an accepted call (ours)."""

    interval_s: Annotated[int | None, Field(alias="intervalInSeconds")] = None
    max_interval_s: Annotated[int | None, Field(alias="maxIntervalInSeconds")] = None


class RayOptions(BaseModel):
    """What a call of Ray needs, by Ray's own names (ours); ``memory`` is in bytes.

    ``runtime_env`` is a name in the settings. A key that is none of these is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: float | None = None
    resources: dict[str, float] | None = None
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    max_calls: int | None = None
    runtime_env: str | None = None
    max_system_retries: int | None = None
    detached: bool | None = None
    batch: int | None = None
    stream: bool | None = None


class Progress(_Spec):
    """Share of a task in the progress of its execution (spec 3.20)."""

    weight: int = 1
    calculation: str | None = None
    args: tuple[MappingRule, ...] | None = None


class Degrade(_Spec):
    """Skip this task, or what follows it (spec 3.8)."""

    current: bool | None = None
    followings: bool | None = None


class Resource(_Spec):
    """A declared or inline resource object (spec 4.8)."""

    name: str | None = None
    category: str | None = None
    input_mappings: tuple[MappingRule, ...] | None = None


class CallbackConfig(_Spec):
    """Where, and with what, the end of an execution is announced (spec 3.19)."""

    resource_name: str | None = None
    full_dag_info: Annotated[bool, Field(alias="fullDAGInfo")] = False
    full_context: bool = False
    input_mappings: tuple[MappingRule, ...] | None = None


class IterationMapping(_Spec):
    """What a foreach iterates over (spec 1.4)."""

    collection: str | None = None
    item: str | None = None
    index: str | None = None
    identity: str | None = None


class Synchronization(_Spec):
    """When, and how far, a foreach limits the groups that run at once."""

    conditions: tuple[str, ...] | None = None
    max_concurrency: str | None = None


class _Task(_Spec):
    """Fields common to every task (spec 1.3); ``next`` is comma-joined names.

    ``catch`` (ours) names the sibling that runs, instead of those in ``next``, when the
    task fails for good.
    """

    has_groups: ClassVar[bool] = False

    name: str | None = None
    title: str | None = None
    description: str | None = None
    next: str | None = None
    catch: str | None = None
    tolerance: bool = False
    input_mappings: tuple[MappingRule, ...] | None = None
    output_mappings: tuple[MappingRule, ...] | None = None
    input: dict[str, JsonValue] | None = None
    input_type: str | None = None
    output_type: str | None = None
    progress: Progress | None = None
    degrade: Degrade | None = None
    timeline: Timeline | None = None
    key_callback: bool = False
    key_exp: str | None = None
    parameters: dict[str, JsonValue] | None = None
    template_id: str | None = None

    @property
    def next_names(self) -> tuple[str, ...]:
        """Names of the successors in order, trimmed, blanks dropped."""
        parts = (part.strip() for part in (self.next or "").split(","))
        return tuple(part for part in parts if part)

    @property
    def follower_names(self) -> tuple[str, ...]:
        """Names of the successors and of the one that catches failures, each once."""
        caught = (self.catch or "").strip()
        return tuple(dict.fromkeys((*self.next_names, *((caught,) if caught else ()))))


Pattern: TypeAlias = Literal["task_sync", "task_async", "task_scheduler", "flow_sync", "flow_async"]


class FunctionTask(_Task):
    """Call a gateway and wait for its answer or for its callback."""

    category: Literal["function"] = "function"
    resource_name: str | None = None
    resource_protocol: str | None = None
    resource: Resource | None = None
    pattern: Pattern | None = None
    request_type: str | None = None
    success_conditions: tuple[str, ...] | None = None
    fail_conditions: tuple[str, ...] | None = None
    retry: Retry | None = None
    completion: Literal["callback", "poll"] | None = None
    polling: Polling | None = None
    ray_options: RayOptions | None = None


class Choice(_Spec):
    """One branch of a choice."""

    condition: str | None = None
    tasks: tuple["Task", ...] | None = None


class ChoiceTask(_Task):
    """Run every branch whose condition is true."""

    has_groups: ClassVar[bool] = True

    category: Literal["choice"] = "choice"
    choices: tuple[Choice, ...] | None = None


class ForeachTask(_Task):
    """Run the sub-tasks once for each element of a collection."""

    has_groups: ClassVar[bool] = True

    category: Literal["foreach"] = "foreach"
    iteration_mapping: IterationMapping | None = None
    synchronization: Synchronization | None = None
    tasks: tuple["Task", ...] | None = None


class SuspenseTask(_Task):
    """Wait until conditions hold, an interruption comes, or time runs out."""

    category: Literal["suspense"] = "suspense"
    conditions: tuple[str, ...] | None = None
    interruptions: tuple[str, ...] | None = None


class PassTask(_Task):
    """Copy values."""

    category: Literal["pass"] = "pass"


class ReturnTask(_Task):
    """Skip what follows when all conditions hold."""

    category: Literal["return"] = "return"
    conditions: tuple[str, ...] | None = None


class SwitchEntry(_Spec):
    """One entry of a switch; ``break`` ends the search when it is true."""

    condition: str | None = None
    next: str | None = None
    break_: Annotated[bool, Field(alias="break")] = False


class SwitchTask(_Task):
    """Choose among the successors.

    ``next`` holds the union of the explicit names and those of the entries (spec Q25).
    """

    category: Literal["switch"] = "switch"
    switches: tuple[SwitchEntry, ...] | None = None


Task: TypeAlias = Annotated[
    FunctionTask | ChoiceTask | ForeachTask | SuspenseTask | PassTask | ReturnTask | SwitchTask,
    Field(discriminator="category"),
]


class KafkaTopic(BaseModel):
    """The records of a topic that start executions (ours); see docs/triggers.md.

    A key that is none of these is refused.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )

    brokers: str | None = None
    topic: str | None = None
    group: str | None = None
    offset_reset: str | None = None
    key_format: str | None = None
    value_format: str | None = None
    mapping: dict[str, JsonValue] | None = None
    filters: dict[str, JsonValue] | None = None
    dead_letter_topic: str | None = None
    tls: bool | None = None
    sasl_mechanism: str | None = None
    user: str | None = None
    password: str | None = None


class WebhookRequests(BaseModel):
    """The requests to a webhook that start executions (ours); see docs/triggers.md.

    A key that is none of these is refused.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )

    signature: str | None = None
    secret: str | None = None
    header: str | None = None
    prefix: str | None = None
    algorithm: str | None = None
    encoding: str | None = None
    timestamp_header: str | None = None
    replay_window_s: Annotated[int | None, Field(alias="replayWindowInSeconds")] = None
    delivery_header: str | None = None
    max_body_bytes: int | None = None
    wait_s: Annotated[int | None, Field(alias="waitInSeconds")] = None
    mapping: dict[str, JsonValue] | None = None


class DeclaredTrigger(BaseModel):
    """A trigger that starts executions of the definition (ours); see docs/triggers.md.

    A key that is none of these is refused.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )

    name: str | None = None
    cron: str | None = None
    time_zone: str | None = None
    start: str | None = None
    end: str | None = None
    jitter_s: Annotated[float | None, Field(alias="jitterInSeconds")] = None
    overlap: str | None = None
    catch_up: str | None = None
    kafka: KafkaTopic | None = None
    webhook: WebhookRequests | None = None
    source: dict[str, JsonValue] | None = None
    context: dict[str, JsonValue] | None = None


class WorkflowDefinition(_Spec):
    """A workflow: the DAG of tasks and its settings (spec 1.2)."""

    workspace: str | None = None
    dag_name: str | None = None
    version: str | None = None
    type: Literal["flow", "resource"] | None = None
    isolation: Literal["shared", "dedicated"] | None = None
    timeline: Timeline | None = None
    tasks: tuple[Task, ...] | None = None
    resources: tuple[Resource, ...] | None = None
    callback: CallbackConfig | None = None
    default_context: dict[str, str | None] | None = None
    common_mapping: dict[str, tuple[MappingRule, ...] | None] | None = None
    input_schema: str | None = None
    output: dict[str, JsonValue] | None = None
    end_task_name: Annotated[str | None, Field(alias="end_task_name")] = None
    enforce_input_schema: bool | None = None
    strict: bool | None = None
    ray_options: RayOptions | None = None
    triggers: tuple[DeclaredTrigger, ...] | None = None
    search_keys: tuple[str, ...] | None = None


Choice.model_rebuild()
ForeachTask.model_rebuild()
WorkflowDefinition.model_rebuild()
