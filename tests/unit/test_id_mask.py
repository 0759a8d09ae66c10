"""Ids of executions of workspaces that a caller does not see are hidden wherever they stand."""

import json

import pytest

from rillflow.jsontypes import JsonObject
from serve.limits.id_masks import IdMask, ValueMask

UNIQUE = "8f0f9c00-0000-11f0-8000-00000000abcd"
OWN = f"own:order_c_{UNIQUE}"
OTHER = f"xown:order_c_{UNIQUE}"
HIDDEN = "xown:order_c_00000000-0000-0000-0000-000000000000"


def sees(business: str) -> bool:
    return business == "own"


def hidden(text: str) -> str:
    return IdMask(sees).part(text.encode(), has_more=False).decode()


@pytest.mark.parametrize(
    "form",
    [
        '{"id":"%s"}',
        "%s",
        '{"a":"x\\n%s"}',
        '{"a":"\\u00e9%s"}',
        "/p?id=%s&a=1",
        "?a=b%%3D%s",
        "%s\n",
    ],
)
def test_own_ids_are_shown_and_others_are_hidden_in_any_place(form: str) -> None:
    assert hidden(form % OWN) == form % OWN
    assert hidden(form % OTHER) == form % HIDDEN
    assert hidden(form % OTHER.replace(":", "%3A")) == form % HIDDEN.replace(":", "%3A")
    assert hidden(form % OWN.replace(":", "%3A")) == form % OWN.replace(":", "%3A")


def test_an_id_that_ends_like_an_own_one_is_hidden() -> None:
    for name in ("bown", "uown", "u0000own", "3Down"):
        assert UNIQUE not in hidden(json.dumps({"id": f"{name}:order_c_{UNIQUE}"}))


@pytest.mark.parametrize("size", [1, 2, 7, 50, 300])
def test_ids_are_hidden_however_a_text_comes_in_parts(size: int) -> None:
    text = json.dumps({"a": [OWN, OTHER, "x" * 1_000 + OTHER, {OTHER: "x" * 500}, OWN + OTHER]})
    hiding = IdMask(sees)
    parts = [text[at : at + size].encode() for at in range(0, len(text), size)]
    shown = [hiding.part(part, has_more=True) for part in parts]
    shown.append(hiding.part(b"", has_more=False))
    whole = b"".join(shown).decode()
    assert len(whole) == len(text)
    assert whole.count(UNIQUE) == 2
    assert whole.count(OWN) == 2


def test_an_event_of_a_stream_is_sent_at_once() -> None:
    event = b'data: {"id": "shop"}\n\n'
    assert IdMask(sees).part(event, has_more=True) == event


@pytest.mark.parametrize("length", range(9, 36))
def test_the_begin_of_an_id_at_the_end_of_a_text_is_hidden(length: int) -> None:
    cut = OTHER[: OTHER.index(UNIQUE) + length]
    assert hidden(json.dumps([cut])) == json.dumps([HIDDEN[: len(cut)]])
    own = json.dumps([OWN[: OWN.index(UNIQUE) + length]])
    assert hidden(own) == own
    assert hidden('"other_c_added"') == '"other_c_added"'


def test_data_without_ids_of_others_are_the_same_objects() -> None:
    large: JsonObject = {"a": ["x" * 1_000, 1, None, {"id": OWN}]}
    data: JsonObject = {"b": large, "c": [large, OTHER, {OTHER: {"d": OTHER}}]}
    told = ValueMask(sees).of(data)
    assert told == {"b": large, "c": [large, HIDDEN, {HIDDEN: {"d": HIDDEN}}]}
    assert isinstance(told, dict)
    assert told["b"] is large
    assert data["c"] == [large, OTHER, {OTHER: {"d": OTHER}}]
