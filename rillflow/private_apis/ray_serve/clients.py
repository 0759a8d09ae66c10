"""The client by which a process asks Serve, which Serve keeps for the life of the process.

Serve that was shut down and started again has another controller. A process that outlives it would
ask the one that has ended, for ever.

Used by `actors/monitoring/callback_address.py`.
"""

from typing import Final

from ray.serve import context

from rillflow.private_apis.assumption import Assumption, missing


def forget_client() -> None:
    """Have the next question to Serve look for the controller that runs now."""
    context._disconnect()  # noqa: SLF001 - see RELIES_ON


RELIES_ON: Final = (
    Assumption(
        "ray[serve]",
        "ray.serve.context._disconnect, which drops the client of a process and ends nothing",
        "2.60.0",
        "loud: the log says that `serve status` is not told of an address for callbacks",
        lambda: missing(context, "_disconnect"),
    ),
)
