"""From a Python function to an HTTP function that workflows call.

::

    from rillflow.functions import Functions

    app = Functions()

    @app.function
    def greet(name: str) -> dict[str, str]:
        return {"greeting": f"Hello, {name}!"}

``rillflow functions serve MODULE:app`` serves it, and so does every ASGI server. The function
itself is unchanged, so Ray can call it as ``ray://MODULE:greet`` too.
"""

from rillflow.functions.application import Functions
from rillflow.functions.limits import Limits

__all__ = ["Functions", "Limits"]
