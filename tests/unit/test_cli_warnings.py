"""`rillflow up` warns of settings that are most likely not meant so, before anything else."""

import pytest
from typer.testing import CliRunner

from rillflow.cli import app


def test_up_tells_of_secrets_that_may_be_sent_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", "value-of-it")
    monkeypatch.setenv("RILLFLOW_SECRET_BOUNDED", "value-of-it")
    monkeypatch.setenv("RILLFLOW_SECRET_HOSTS", '{"BOUNDED": "api.example.com"}')
    errors = CliRunner().invoke(app, ["up", "--host", "0.0.0.0"]).stderr
    warning, *_ = errors.splitlines()
    assert warning.startswith("warning: any definition may send the secret TOKEN to any host")
    assert "BOUNDED" not in errors
    assert "value-of-it" not in errors
