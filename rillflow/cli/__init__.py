"""The command line, `rillflow`.

It talks to a stack through `rillflow/client`, and starts one through `serve/stack`.
"""

from rillflow.cli.application import app

__all__ = ["app"]
