"""The functions of the small examples: what the function gateway's stand-in serves for them.

Each takes one request of the gateway and answers a dict. Serve them with
``rillflow gateway --functions examples/functions.py``.
"""

from typing import Any, Final

from rillflow.testing import FunctionRequest


def greet(request: FunctionRequest) -> dict[str, Any]:
    """Greet somebody."""
    return {"greeting": f"Hello, {request.json()['name']}!"}


def shout(request: FunctionRequest) -> dict[str, Any]:
    """Say a text louder."""
    return {"text": str(request.json()["text"]).upper()}


def square(request: FunctionRequest) -> dict[str, Any]:
    """Multiply a number by itself."""
    number = request.json()["number"]
    return {"square": number * number}


FUNCTIONS: Final = {function.__name__: function for function in (greet, shout, square)}
