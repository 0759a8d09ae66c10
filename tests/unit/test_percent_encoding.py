"""Texts are percent-encoded as urllib does it, and long ones take no longer."""

import time
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from rillflow.gateways.outbound.targets import form_quote, percent_encoded
from tests.machine_speed import least

TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.characters(codec="ascii")), max_size=160)


@given(TEXTS)
def test_a_text_of_a_form_is_encoded_as_by_urllib(text: str) -> None:
    assert form_quote(text) == quote_plus(text, safe="*").replace("~", "%7E")


@given(TEXTS)
def test_a_text_of_a_callback_address_is_encoded_as_by_urllib(text: str) -> None:
    assert percent_encoded(text) == quote(text, safe="").replace("~", "%7E")


def test_a_long_text_of_nothing_but_signs_takes_little_longer_than_by_urllib() -> None:
    text = "&=" * 100_000
    begun = time.process_time()
    expected = quote_plus(text)
    by_urllib_s = time.process_time() - begun

    def spent_s() -> float:
        begun = time.process_time()
        assert (form_quote(text), percent_encoded(text)) == (expected, expected)
        return time.process_time() - begun

    most_s = 6 * by_urllib_s + 0.1
    assert least(spent_s, most_s) < most_s
