"""Rill Flow's messages of refusals and of tasks in plain words.

On the wire the messages stay as they are, because clients compare them. The plain sentence is in
``hint`` if there is no other hint, and the command line shows it alone.

Used by `cli`, `client`, `core` and `serve`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_SENTENCES: Final[Sequence[tuple[str, str]]] = (
    # ids and names
    (r"dagDescriptorId:(.*) format error", "{0} is not a descriptor id"),
    (r"descriptorId:(.*) format error", "{0} is not a descriptor id"),
    (r"serviceId:(.*) format error", "{0} is not a service, which is business:feature"),
    (r"executionId:(.*) format error", "{0} is not an execution id"),
    (r"cannot find descriptor: (.*)", "no definition is stored as {0}"),
    (r"descriptor:(.*) value empty", "no definition is stored as {0}"),
    (r"descriptor is null: (.*)", "no definition is stored as {0}"),
    # definitions
    (r"dag descriptor empty\.", "the definition is empty"),
    (r"dag info length:(\d+) exceed the limit", "a definition of {0} bytes is too long"),
    (r"dag type is invalid\.", "the type of the definition is neither flow nor resource"),
    (r"dag task empty\.", "the definition has no tasks"),
    (r"exceed max depth: (.*)", "tasks are nested too deeply: {0}"),
    (r"name invalid:(.*)", "{0} is not a valid name"),
    (r"task name duplicated: (.*)", "several tasks are called {0}"),
    (r"circle found: (.*)", "tasks follow each other in a circle: {0}"),
    (r"next task (.*) not exist\.", "the next task {0} does not exist"),
    (r"(\w+) task (.*) is invalid\. Because (.*)", "the {0} task {1} is not valid: {2}"),
    (r"(.*) exists, please rename the task", "{0} is a reserved name; call the task otherwise"),
    # executions and their tasks
    (r"validateDAGInfo dag executionId:(.*) is finished", "the execution {0} has ended"),
    (r"validateDAGInfo dag executionId:(.*) not found", "there is no execution {0}"),
    (r"executionId not found (.*)", "there is no execution {0}"),
    (r"can not find dag info before redo\.", "there is no such execution"),
    (r"redo executionId can not be empty", "execution_id is empty"),
    (r"executionId or status is blank", "execution_id is empty"),
    (r"finish taskName can not be null", "task_name is empty"),
    (r"task not exists (.*_c_[0-9a-f-]+):(.*)", "there is no task {1} in an execution {0}"),
    (r"storage can not get taskInfo:(.*)", "the execution has no task {0}"),
    (r"attempt finish wrong task (.*)", "the task {0} waits for no callback now"),
    (r"task (.*) category is not suspense type", "the task {0} is not a suspense"),
    (r"repeated finish task (.*)", "the task {0} has ended already"),
    (r"can not find base task:(.*), executionId:(.*)", "the execution {1} has no task {0}"),
    (r"exceed max depth, dag route: (.*)", "sub-flows are nested too deeply: {0}"),
    # data
    (r"value type is not map", "a key that begins with __ holds something else than an object"),
    (r"content length: more than (\d+) exceed the limit", "the data have more than {0} bytes"),
    (r"context size nonsupport", "the body is too large"),
    (r"error data format", "the data do not have the form that is wanted"),
    (r"resource_check content nonsupport", "resource_check is not a JSON object as described"),
    # limits
    (r"runtime storage limit", "the server has no memory for more executions; try again later"),
    (r"submit traffic limit", "too many submissions in a second; try again later"),
    (r"resource limit resources: (.*)", "functions are busy: {0}; try again later"),
    (r"type (\S*) nonsupport", "there is no type {0}"),
    (r"rate_limit (\S*) nonsupport", "rate_limit is 1 to 50, not {0}"),
    (r"count (\S*) nonsupport", "count is 1 to 30000, not {0}"),
    (r"no default resource for ab config key: (.*)", "the A/B rules of {0} have no default"),
)
_OF_TASKS: Final[Sequence[tuple[str, str]]] = (
    (r"dispatchTask http fails due to (.*)", "the call failed: {0}"),
    (r"handle functionPattern protocol: (.*)do not support", "nothing serves the protocol {0}"),
    (r"handle functionPattern null", "it has no resourceName"),
    (r"originalUrl value:(.*) not http format", "{0} is no address that can be called"),
    (r"function resource null", "its resource is not known"),
    (r"function resource category: (.*)do not support", "nothing serves resources of category {0}"),
    (r"handle fails: exceed max depth, dag route: (.*)", "sub-flows are nested too deeply: {0}"),
    (r"handle fails: (apikey|prompt|message|parameters) is empty", "it was given no {0}"),
    (r"handle fails: (.*)", "the call failed: {0}"),
    (
        r"skip due to dependent tasks return or degrade",
        "skipped, since a task before it was skipped or degraded, or is a return",
    ),
    (r"loop collection or subTasks empty", "nothing to do: the list, or the tasks, are empty"),
    (r"choices collection empty", "nothing to do: there are no choices"),
    (r"switches collection empty", "nothing to do: there are no switches"),
    (r"iteration item (\d+) is null", "item {0} of its list is null"),
    (r"conditions can not be null", "it has no conditions"),
    (r"interruption", "one of its interruptions held"),
    (r"timeout", "its time was up"),
)


def _compiled(sentences: Sequence[tuple[str, str]]) -> Sequence[tuple[re.Pattern[str], str]]:
    return tuple((re.compile(pattern, re.DOTALL), sentence) for pattern, sentence in sentences)


_REFUSALS: Final = _compiled(_SENTENCES)
_MESSAGES: Final = _compiled(_OF_TASKS)
_LONGEST: Final = 4_000
"""Messages that are longer hold much of what somebody sent, and are left alone."""


def in_plain_words(message: str) -> str | None:
    """Return what one of Rill Flow's messages means; None where it is not known as one."""
    return _sentence(message, _REFUSALS)


def of_task_in_plain_words(message: str) -> str:
    """Return what the message of a task or an execution means; others as they are."""
    return task_message_in_plain_words(message) or message


def reasons_of(message: str | None, hint: str | None) -> tuple[str | None, str | None]:
    """Return what is to be said of a failure in plain words, and what more there is to it.

    A hint takes the place of a message that is missing; one that says the same is left out.
    """
    said = of_task_in_plain_words(message) if message and message.strip() else None
    if said is None:
        return hint, None
    return said, None if hint == said else hint


@lru_cache(maxsize=256)
def task_message_in_plain_words(message: str) -> str | None:
    """Return what the message of a task means; None where it is none of Rill Flow's."""
    return _sentence(message, _MESSAGES)


def _sentence(message: str, known: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    if len(message) > _LONGEST:
        return None
    for pattern, sentence in known:
        found = pattern.fullmatch(message)
        if found is not None:
            return sentence.format(*(part.strip() or "(nothing)" for part in found.groups()))
    return None
