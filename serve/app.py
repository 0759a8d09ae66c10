"""The Serve application: ``serve run serve.app:app``, or ``build(settings)`` from a program.

It only reads the settings from the environment; `deployment.py` builds the application.
"""

import logging
import os

from rillflow.gateways.secrets.store import Secrets, unbounded_warning
from rillflow.setting_values import idle_switches
from rillflow.settings import Settings
from rillflow.unknown_settings import unknown_variables
from serve.deployment import build

__all__ = ["app", "build"]

_settings = Settings()
app = build(_settings)

_log = logging.getLogger("rillflow.api")
for _warning in unknown_variables(os.environ):
    _log.warning("unknown_variable: %s", _warning)
for _warning in idle_switches(_settings.switches):
    _log.warning("idle_switch: %s", _warning)
for _name in Secrets(_settings.secrets_dir, hosts=_settings.secret_hosts).unbounded():
    _log.warning("unbounded_secret: %s", unbounded_warning(_name))
