"""Models of the answers about definitions, statistics and templates, for the OpenAPI document.

As in ``answers.py``, answers do not pass through these models; a test compares the two.

Used by `serve/routes` and `serve/routes/console`.
"""

from typing import Any, TypeAlias

from pydantic import BaseModel, Field

from serve.schemas.answers import Execution

Object: TypeAlias = dict[str, Any]


class AddedDescriptor(BaseModel):
    """The version that was added."""

    ret: bool
    descriptor_id: str = Field(examples=["shop:order:md5_0123456789abcdef0123456789abcdef"])


class Descriptor(BaseModel):
    """The text of a definition."""

    descriptor_id: str
    uid: str
    descriptor: str


class Businesses(BaseModel):
    """Registered businesses."""

    business_ids: list[str]


class Features(BaseModel):
    """Registered features of a business."""

    business_id: str
    features: list[str]


class Aliases(BaseModel):
    """Registered aliases of a feature."""

    business_id: str
    feature: str
    aliases: list[str]


class Grays(BaseModel):
    """Gray rules of a feature by alias."""

    business_id: str
    feature: str
    gray: dict[str, str]


class RuleSet(BaseModel):
    """The rule is set, or removed."""

    ret: bool
    hint: str | None = Field(default=None, description="Why the stored rule can never hold.")


class AbKeys(BaseModel):
    """A/B tables of a business."""

    business_id: str
    config_keys: list[str]


class AbRule(BaseModel):
    """The rule that chooses a function."""

    resource_name: str
    rule: str


class AbRules(BaseModel):
    """An A/B table: rules in the order they are tried, then the default."""

    default_resource_name: str | None = None
    rules: list[AbRule]


class AbTable(BaseModel):
    """An A/B table."""

    business_id: str
    config_key: str
    ab: AbRules


class Version(BaseModel):
    """A version, and when it was added."""

    descriptor_id: str
    create_time: int


class Versions(BaseModel):
    """Versions of an alias, newest first."""

    business_id: str
    feature: str
    alias: str
    versions: list[Version]


class DescriptorItem(BaseModel):
    """An alias with the times of its oldest and newest version."""

    business_id: str
    feature_id: str
    alias: str
    descriptor_id: str
    create_time: int
    update_time: int


class DescriptorPage(BaseModel):
    """A page of aliases; `total` counts all."""

    items: list[DescriptorItem]
    total: int


class ExecutionItem(BaseModel):
    """An execution in a list."""

    id: str
    execution_id: str
    submit_time: int
    business_id: str
    feature_id: str
    status: str


class ExecutionPage(BaseModel):
    """A page of executions; `total` counts all."""

    items: list[ExecutionItem]
    total: int


class ExecutionEnvelope(BaseModel):
    """The console's envelope around an execution."""

    data: Execution
    message: str
    success: bool


class User(BaseModel):
    """The one user there is."""

    realName: str  # noqa: N815 - the console's spelling
    roles: list[dict[str, str]]
    userId: str  # noqa: N815 - the console's spelling
    username: str
    token: str
    desc: str
    password: str | None = None
    homePath: str | None = None  # noqa: N815 - the console's spelling
    avatar: str | None = None


class BusinessOption(BaseModel):
    """A business in a list of choices."""

    id: str
    name: str


class BusinessOptions(BaseModel):
    """Businesses to choose from."""

    business_ids: list[BusinessOption]


class Listed(BaseModel):
    """An execution and when it was submitted."""

    execution_id: str
    submit_time: int


class ExecutionIds(BaseModel):
    """Executions of a service, newest first."""

    execution_ids: list[Listed]
    type: str
    cursor_time: int
    current_page: int
    next_page_available: bool


class Counts(BaseModel):
    """Executions by status, and failed ones by code."""

    dag: dict[str, int] | None = None
    code: dict[str, int] | None = None
    collect_time: int


class Summary(BaseModel):
    """Counters of a day, as text."""

    ret: dict[str, str]


class StorageCheck(BaseModel):
    """Use of memory, in percents."""

    max_usage_percent: int
    current_usage_percent: int
    usage_limit: bool


class ResourceStatus(BaseModel):
    """Busy functions that would refuse a submission."""

    unsatisfied_resources: list[str]
    resource_limit: bool


class FlowCheck(BaseModel):
    """Figures and thresholds; the latter are absent where none is set."""

    complete_rate: float | None = None
    complete_rate_threshold: float | None = None
    success_rate: float | None = None
    success_rate_threshold: float | None = None
    heap_count: int | None = None
    heap_count_threshold: int | None = None
    complete_rate_limit: bool
    success_rate_limit: bool
    heap_limit: bool


class SubmitStatus(BaseModel):
    """The checks that a submission would meet."""

    storage_check: StorageCheck
    resource_check: ResourceStatus
    flow_check: FlowCheck


class StatusCheck(BaseModel):
    """Whether a definition may be submitted now, and why not."""

    descriptor_id: str
    submit_status: SubmitStatus
    related_resources: Object


class Records(BaseModel):
    """A list of templates."""

    data: list[Object]


class ChangeResult(BaseModel):
    """Whether something was changed: 0 for yes, 1 for no."""

    code: int


class CreatedId(BaseModel):
    """The id of what was created."""

    id: int


class CreatedTemplate(ChangeResult):
    """The template was created."""

    data: CreatedId
