"""A plugin that ends the process of its dispatcher, as a fault in native code does."""

import os
import signal
from pathlib import Path
from typing import Any

DEATHS_FILE = "FATAL_PLUGIN_DEATHS"
"""Environment variable with the file that gets a line for each death."""


class Fatal:
    """Serves the protocol ``fatal``."""

    name = "fatal"

    def handle(self, resource: Any, dispatch_info: Any) -> str:
        """Answer where the value is harmless; die where it is not."""
        if resource.scheme_value == "harmless":
            return "{}"
        with Path(os.environ[DEATHS_FILE]).open("a", encoding="utf-8") as deaths:
            deaths.write(f"{dispatch_info.execution_id}\n")
        os.kill(os.getpid(), signal.SIGKILL)
        return ""
