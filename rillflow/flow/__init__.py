"""Workflows in Python: a function that describes a workflow, traced to the same definition as YAML.

::

    from rillflow.flow import call, flow

    @flow(workspace="demo", name="greeting")
    def greeting(name: str):
        greet = call("http://127.0.0.1:8081/function/greet", name=name)
        return {"greeting": greet.greeting}

    print(greeting.to_yaml())

It runs nothing. Users' programs and the command line call it; a server never does.
"""

from rillflow.errors import FlowError
from rillflow.flow.calls import (
    Call,
    RayCall,
    ServeCall,
    SubflowCall,
    call,
    ray_call,
    serve_call,
    subflow,
)
from rillflow.flow.flows import Flow, flow
from rillflow.flow.groups import When, catch, foreach, when
from rillflow.flow.orders import parallel, sequence, sleep, wait_for
from rillflow.flow.placeholders.operators import (
    all_of,
    any_of,
    contains,
    expression,
    join,
    length,
    not_,
    optional,
    text,
)
from rillflow.flow.retries import retry

__all__ = [
    "Call",
    "Flow",
    "FlowError",
    "RayCall",
    "ServeCall",
    "SubflowCall",
    "When",
    "all_of",
    "any_of",
    "call",
    "catch",
    "contains",
    "expression",
    "flow",
    "foreach",
    "join",
    "length",
    "not_",
    "optional",
    "parallel",
    "ray_call",
    "retry",
    "sequence",
    "serve_call",
    "sleep",
    "subflow",
    "text",
    "wait_for",
    "when",
]
