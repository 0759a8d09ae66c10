"""A dispatcher of one's own, as small as it gets: the task's input is its output.

Install it where Rillflow runs (``pip install examples/plugins/rillflow_echo``), and
``resourceName: echo://greeting`` or ``resourceProtocol: echo`` calls it. A plugin is
any object with a ``name`` and a ``handle``; nothing of Rillflow need be imported.
"""

import json
from typing import Any


class EchoDispatcher:
    """Serves the protocol ``echo``."""

    name = "echo"
    schema = json.dumps({"type": "object", "properties": {"text": {"type": "string"}}})

    async def handle(self, resource: Any, dispatch_info: Any) -> str:
        """Answer with the input and with what stood behind ``echo://``.

        An input with ``fail`` raises, which fails the attempt with that message.
        """
        if "fail" in dispatch_info.input:
            raise ValueError(str(dispatch_info.input["fail"]))
        return json.dumps({"echo": dispatch_info.input, "value": resource.scheme_value})
