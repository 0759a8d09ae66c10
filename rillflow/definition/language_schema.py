"""The JSON Schema of the language, with what each key means, for editors.

Used by `serve/routes/console_api`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from rillflow.definition.model import WorkflowDefinition
from rillflow.jsontypes import JsonObject

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_OF_SPEC: Final = re.compile(r" ?\((?:spec [^)]*|ours)\)")
_MARKS: Final = re.compile(r"``")

_TASK: Final = {
    "name": "The name of the task, by which others refer to it.",
    "title": "A name for people.",
    "description": "A text for people.",
    "next": "The tasks that follow, separated by commas.",
    "catch": "The task that runs instead of those in `next` when this one fails.",
    "tolerance": "Whether a failure makes the task SKIPPED instead of FAILED; others then go on.",
    "inputMappings": "Rules that build the input from the context, before the task starts.",
    "outputMappings": "Rules that copy from the output into the context, when the task has ended.",
    "input": "A shorter way to write input mappings: the input as a map.",
    "inputType": "`stream`: the task starts as soon as one of the tasks before it has ended.",
    "outputType": "`stream` or `block`, for the tasks that follow.",
    "progress": "The share of the task in the progress of the execution.",
    "degrade": "Skips this task, or what follows it.",
    "timeline": "Time-out and delay of the task.",
    "keyCallback": "Whether the key result of the execution waits for this task.",
    "keyExp": "Kept and shown, without effect.",
    "parameters": "Defaults of the input: each is used when the mapped input lacks its key.",
    "templateId": "Kept and shown, without effect.",
    "category": "What the task does.",
    "resourceName": "The function that is called: `http://...`, `rillflow://business:feature`, ...",
    "resourceProtocol": "The protocol of the function, when its address does not say it.",
    "resource": "The function as an object, for a gateway plugin.",
    "pattern": (
        "`task_sync`: the answer is the result. `task_async`: the result comes by callback."
        " `flow_sync` waits for a sub-flow, `flow_async` only starts one."
    ),
    "requestType": "The HTTP method of the call.",
    "successConditions": "Conditions on `$.output`: the task succeeds when all of them hold.",
    "failConditions": "Conditions on `$.output`: the task fails when all of them hold.",
    "retry": "How often, and when, a failed attempt is made again.",
    "completion": "How the result of an accepted call comes: by callback, or by polling.",
    "polling": "How often the result of an accepted call is asked for.",
    "rayOptions": "The resources that a call of Ray needs.",
    "choices": "The branches; each whose condition holds is run.",
    "iterationMapping": "The collection, and the names of its items inside the group.",
    "synchronization": "How many items run at once.",
    "tasks": "The tasks of each item.",
    "conditions": "Conditions on `$.input`, all of which must hold.",
    "interruptions": "Conditions on `$.input`: the task fails when one of them holds.",
    "switches": "Conditions, each with the tasks that it lets run.",
}
_RULE: Final = {
    "source": "Where the value comes from: a path when it begins with `$`, else a literal.",
    "transform": "An expression of `source`, `context`, `input` and `output` that gives the value.",
    "target": "Where the value goes: `$.input.name`, `$.context.name`.",
    "reference": "A list of `commonMapping` that takes this rule's place.",
    "tolerance": "`false`: a rule that fails makes its task fail.",
    "variable": "The name of the value in `calculation`.",
}
KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "WorkflowDefinition": {
        "workspace": "The name space; equal to `business_id` when the definition is added.",
        "dagName": "The name of the workflow; equal to `feature_name`.",
        "version": "A text for people.",
        "type": "`flow` for everything that runs; `resource` only declares resources.",
        "isolation": "`dedicated` gives every execution a process of its own.",
        "timeline": "The time-out of the whole execution.",
        "tasks": "The tasks of the workflow.",
        "resources": "Functions declared by name.",
        "callback": "The address that is told when the execution has ended.",
        "defaultContext": "Initial values of the context.",
        "commonMapping": "Lists of rules that tasks share, by name.",
        "inputSchema": "The schema of the submitted data, as JSON text.",
        "output": "The result of the workflow.",
        "end_task_name": "Made from `output`; not for authors.",
        "enforceInputSchema": "Whether data that do not match `inputSchema` are refused.",
        "strict": "Whether a mapping rule without effect is a failure.",
        "rayOptions": "The resources that calls of Ray need, for tasks that do not say otherwise.",
        "triggers": "When executions start by themselves.",
        "searchKeys": "Paths of the context, as in `$.context.user`, by whose values one searches.",
    },
    "DeclaredTrigger": {
        "name": "The name among the triggers of the definition.",
        "cron": "When it fires: five or six fields, the first of six is the second.",
        "timeZone": "The zone of its times, as in `Europe/Berlin`; UTC by default.",
        "start": "It fires no earlier than this time (ISO 8601).",
        "end": "It fires no later than this time (ISO 8601).",
        "jitterInSeconds": "Each firing is late by a random part of this.",
        "overlap": "What happens while an execution that it has started runs.",
        "catchUp": "Which times are made up for after an outage.",
        "kafka": "The records of a topic that it starts executions for.",
        "webhook": "The signed requests that it starts executions for.",
        "source": "The settings of a type of triggers that a package adds, and its name, `type`.",
        "context": "The data of each execution.",
    },
    "WebhookRequests": {
        "signature": "How requests are signed, as in `github`; `none` lets everybody start.",
        "secret": "A reference to the secret of the signature.",
        "header": "The header with the signature or the token, for `hmac` and `token`.",
        "prefix": "What stands before it in that header.",
        "algorithm": "The hash function of `hmac`, as in `sha256`.",
        "encoding": "How `hmac` writes the signature: `hex` or `base64`.",
        "timestampHeader": "The header with the time that `hmac` signs too.",
        "replayWindowInSeconds": "How long a request counts.",
        "deliveryHeader": "The header with the id of a delivery, which starts one execution.",
        "maxBodyBytes": "The largest body.",
        "waitInSeconds": "How long a request waits for the end of its execution.",
        "mapping": "Paths into the request, by the field of the context that each fills.",
    },
    "KafkaTopic": {
        "brokers": "The addresses of brokers, with commas between them.",
        "topic": "The topic whose records are read.",
        "group": "The consumer group; by default one of the trigger's own.",
        "offsetReset": "Where a new group begins: `earliest` or `latest`.",
        "keyFormat": "What keys are: `text`, `json`, or `bytes`, which become Base64.",
        "valueFormat": "What values are: `json`, `text`, or `bytes`, which become Base64.",
        "mapping": "Paths into the record, by the field of the context that each fills.",
        "filters": "The values that a record must have, by their paths.",
        "deadLetterTopic": "The topic for records that start no execution.",
        "tls": "Whether connections are encrypted.",
        "saslMechanism": "How the user is authenticated: `PLAIN` or SCRAM.",
        "user": "The name that goes with the password.",
        "password": "A reference to a secret.",
    },
    "MappingRule": _RULE,
    "Timeline": {
        "timeoutInSeconds": "How long it may take: a number, or a path.",
        "skipOnTimeout": "`true`: a suspense whose time is over is skipped, if it is tolerant.",
        "suspenseIntervalSeconds": "How long to wait before the task starts.",
        "suspenseTimestamp": "When the task starts, in milliseconds since the epoch.",
    },
    "Retry": {
        "maxRetryTimes": "How many attempts follow the first.",
        "intervalInSeconds": "The wait before the next attempt.",
        "maxIntervalInSeconds": "The longest wait.",
        "multiplier": "How much longer each wait is than the one before.",
        "jitter": "The part of each wait that is random, from 0 to 1.",
        "conditions": "Conditions on `$.output`: a failure is retried when one of them holds.",
    },
    "Polling": {
        "intervalInSeconds": "The wait before the first poll.",
        "maxIntervalInSeconds": "The longest wait between two polls.",
    },
    "Progress": {
        "weight": "The weight of the task among its siblings.",
        "calculation": "An expression that gives the progress in percent.",
        "args": "Rules that give the values of `calculation`.",
    },
    "Degrade": {
        "current": "Whether this task is skipped.",
        "followings": "Whether what follows it is skipped.",
    },
    "Resource": {
        "name": "The name to which `resource://name` refers.",
        "category": "The gateway plugin that calls the resource.",
        "inputMappings": "Rules for that plugin.",
    },
    "CallbackConfig": {
        "resourceName": "The address that gets the notice.",
        "fullDAGInfo": "Whether the notice has all tasks.",
        "fullContext": "Whether the notice has the context.",
        "inputMappings": "Rules that build the notice from the context.",
    },
    "IterationMapping": {
        "collection": "A path to the collection: `$.input.items`.",
        "item": "The name of the item in the context of the group.",
        "index": "The name of its index in that context.",
        "identity": "A name of the item that is shown: a path in its context.",
    },
    "Synchronization": {
        "conditions": "Conditions on `$.input`: the limit counts when all of them hold.",
        "maxConcurrency": "How many items run at once: a number, or a path.",
    },
    "Choice": {
        "condition": "A condition on `$.input`.",
        "tasks": "The tasks of the branch.",
    },
    "SwitchEntry": {
        "condition": "A condition on `$.input`; `default` holds when no other does.",
        "next": "The tasks that run when it holds, separated by commas.",
        "break": "Whether later entries are passed over when this one holds.",
    },
    "RayOptions": {
        "num_cpus": "Processors that are reserved.",
        "num_gpus": "GPUs that are reserved.",
        "memory": "Memory that is reserved, in bytes.",
        "resources": "Custom resources of Ray that are reserved, by name.",
        "accelerator_type": "The type of GPU that the node must have.",
        "label_selector": "Labels that the node must have.",
        "max_calls": "After how many calls a worker process is replaced.",
        "runtime_env": "The name of a runtime environment of the settings.",
        "max_system_retries": "How often a call is repeated whose worker or node has died.",
        "detached": "Whether the call outlives its dispatcher.",
        "batch": "Up to how many tasks one call takes the inputs of.",
        "stream": "Whether a deployment may stream its answer.",
    },
}
"""What the keys mean, by the model that has them; those of tasks are the same for all tasks."""


def language_schema() -> JsonObject:
    """Return the JSON Schema of a definition, each key with a description."""
    schema: dict[str, Any] = WorkflowDefinition.model_json_schema(by_alias=True)
    for name, part in [(WorkflowDefinition.__name__, schema), *schema["$defs"].items()]:
        meanings = KEYS.get(name, _TASK)
        for key, known in part.get("properties", {}).items():
            known.pop("title", None)
            if key in meanings:
                known["description"] = meanings[key]
        if "description" in part:
            part["description"] = _plain(part["description"])
    return {"$schema": DIALECT, **schema}


def _plain(text: str) -> str:
    """Return a docstring without references and marks."""
    return _MARKS.sub("`", _OF_SPEC.sub("", text))
