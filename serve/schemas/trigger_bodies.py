"""Models of the answers about triggers, for the OpenAPI document.

As in ``answers.py``, answers do not pass through these models; a test compares the two.

Used by `serve/routes/triggers.py`.
"""

from typing import Any

from pydantic import BaseModel, Field


class TriggerAnswer(BaseModel):
    """Rill Flow's answer to a change of triggers: 0 for done, -1 for not done."""

    code: int
    data: dict[str, Any] | None = None
    err_msg: str | None = None
    message: str | None = None


class TriggerRefusal(BaseModel):
    """An event that started no execution, and why."""

    key: str
    reason: str
    at_ms: int


class Trigger(BaseModel):
    """A trigger, and what it has done."""

    id: str
    type: str
    descriptor_id: str
    paused: bool
    declared_by: str | None = Field(default=None, description="The definition that declares it.")
    cron: str | None = None
    kafka: dict[str, Any] | None = Field(default=None, description="Topic, group, and so on.")
    webhook: dict[str, Any] | None = Field(default=None, description="Signature, and so on.")
    path: str | None = Field(default=None, description="Where a webhook is called.")
    source: dict[str, Any] | None = Field(
        default=None, description="The settings of a type that a package adds, and `type`."
    )
    time_zone: str | None = None
    start: str | None = None
    end: str | None = None
    jitter_s: float | None = None
    overlap: str | None = None
    catch_up: int | str | None = None
    callback: str | None = None
    resource_check: str | None = None
    uid: int | None = None
    created_ms: int
    next_ms: int | None = Field(default=None, description="The next scheduled time.")
    fired: int
    skipped: int
    last_ms: int
    last_execution: str
    queued_ms: int
    error: str
    refused: int
    refusals: list[TriggerRefusal]
    state: str
    state_ms: int
    state_reason: str
    context: dict[str, Any] | None = None
    hint: str | None = Field(
        default=None, description="When it is added: that what it starts was not added yet."
    )


class TriggerPage(BaseModel):
    """Triggers by id; `next` is what to ask for the following ones after, if there are any."""

    triggers: list[Trigger]
    next: str | None = None


class Fired(BaseModel):
    """The execution that was started."""

    execution_id: str


class BackfillAnswer(BaseModel):
    """The executions of all scheduled times of the span."""

    execution_ids: list[str]
