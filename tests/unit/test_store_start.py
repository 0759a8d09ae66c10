"""A store that cannot be opened at the start of the controller is opened as soon as it can be."""

from pathlib import Path

import pytest

from rillflow.errors import StoreError
from rillflow.runtime.supervision.store_start import NOT_OPENED, open_when_possible
from rillflow.stores import open_store


async def test_a_store_that_cannot_be_opened_is_tried_again_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    folder.write_text("a file in the place of the folder")
    store = open_store(f"sqlite:///{folder}/store.db")
    with pytest.raises(StoreError):
        await store.open()
    told: list[tuple[str, str]] = []

    def say(reason: str, cause: str) -> None:
        told.append((reason, cause))
        if len(told) == 2:
            folder.unlink()
            folder.mkdir()

    await open_when_possible(store.open, say)

    assert await store.deployment() is None
    assert [reason for reason, _ in told] == [NOT_OPENED] * 2
    assert all(str(folder) in cause for _, cause in told)
    await store.close()


async def test_a_defect_is_not_tried_again() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await open_when_possible(fail, lambda _reason, _cause: None)
