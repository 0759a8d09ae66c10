"""The command line."""

from rillflow.cli.application import app

__all__ = ["app"]
