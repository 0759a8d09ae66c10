"""``docs/settings.md`` tells of every setting, as it is now."""

from rillflow.settings import Settings
from tests.settings_page import PAGE, meanings_of, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.settings_page"


def test_every_setting_is_explained() -> None:
    assert set(meanings_of(Settings)) == set(Settings.model_fields)


def test_the_page_shows_where_each_setting_is_read() -> None:
    lines = [line for line in page().splitlines() if line.startswith("| `callback_host` ")]
    [line] = lines
    assert line == (
        "| `callback_host` | `RILLFLOW_CALLBACK_HOST`, `RILL_FLOW_CALLBACK_URL` | none"
        " | Replaces `server_host` in callback addresses. |"
    )
