"""The Serve application: ``serve run serve.app:app``, or ``build(settings)`` from a program."""

import logging
import os

from rillflow.settings import Settings, unknown_variables
from serve.deployment import build

__all__ = ["app", "build"]

app = build(Settings())

for _warning in unknown_variables(os.environ):
    logging.getLogger("rillflow.api").warning("unknown_variable: %s", _warning)
