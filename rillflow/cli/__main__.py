"""``python -m rillflow.cli`` is the command line, where its script is not on the path."""

from rillflow.cli.application import app

app()
