"""Settings come from the environment as one line of text each."""

import pytest

from rillflow.settings import Settings


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("one", ("one",)),
        ("one,two:plugin", ("one", "two:plugin")),
        (" a , b,", ("a", "b")),
    ],
)
def test_a_list_is_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RILLFLOW_PLUGINS", text)
    monkeypatch.setenv("RILLFLOW_AUTH_BUSINESSES", text)
    settings = Settings()
    assert (settings.plugins, settings.auth_businesses) == (names, names)


def test_a_map_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SUBMIT_TRAFFIC_LIMITS", '{"shop:order": 5}')
    assert Settings().submit_traffic_limits == {"shop:order": 5}


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_PORT", "9000")
    assert Settings().port == 9000
    assert Settings(port=9001).port == 9001
