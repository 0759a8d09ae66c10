"""Whoever deploys with a store that cannot be used reads which setting is wrong."""

import traceback
from pathlib import Path

import pytest

from rillflow.actors.deployment import deploy_and_wait
from rillflow.errors import StoreError
from rillflow.settings import Settings
from tests.loopback import closed_port


def test_a_database_that_does_not_answer_is_told_without_what_was_in_between() -> None:
    url = f"postgresql://somebody:s3cret@127.0.0.1:{closed_port()}/none"
    with pytest.raises(StoreError) as told:
        deploy_and_wait(Settings(store=url))
    shown = "".join(traceback.format_exception(told.value))
    assert "the store cannot be used (RILLFLOW_STORE): PostgreSQL: " in shown.splitlines()[-1]
    assert "rillflow cluster check" in shown.splitlines()[-1]
    assert shown.count("Traceback") == 1
    assert "s3cret" not in shown


def test_a_folder_that_holds_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "rillflow.db").mkdir()
    with pytest.raises(StoreError, match=r"the store cannot be used \(RILLFLOW_DATA_DIR\): "):
        deploy_and_wait(Settings(data_dir=tmp_path))
