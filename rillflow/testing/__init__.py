"""Public test doubles for users' tests, examples and demos.

Nothing of a running stack imports it.
"""

from rillflow.testing.function_gateway import FakeOpenFaaS, RecordedCall, RecordedCallback
from rillflow.testing.functions import Function, FunctionAnswer, FunctionRequest
from rillflow.testing.scenario import Scenario
from rillflow.testing.wants import Dispatch, dispatch

__all__ = [
    "Dispatch",
    "FakeOpenFaaS",
    "Function",
    "FunctionAnswer",
    "FunctionRequest",
    "RecordedCall",
    "RecordedCallback",
    "Scenario",
    "dispatch",
]
