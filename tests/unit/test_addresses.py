"""No address that is printed shows a user name or password."""

import pytest

from rillflow.core.redaction import redacted_part
from rillflow.definition.addresses import without_user_info
from rillflow.errors import GatewayError
from rillflow.gateways.outbound.targets import parse_http_url


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host/path?a=b", "http://host/path?a=b"),
        ("http://user:pw@host/path", "http://***@host/path"),
        ("http://user@host:80", "http://***@host:80"),
        ("http://a:b@c:d@host/x", "http://***@host/x"),
        ("http://user:p/w@host/x", "http://***@host/x"),
        ("http://user:p?w@host/x", "http://***@host/x"),
        ("http://user:p#w@host/x", "http://***@host/x"),
        ("http://host/@scope/name", "http://host/@scope/name"),
        ("http://host:8080/@scope/name", "http://host:8080/@scope/name"),
        ("http://[::1]/@scope", "http://[::1]/@scope"),
        ("http://host?mail=a@b", "http://host?mail=a@b"),
        ("http://host/f?token=abc&page=2", "http://host/f?token=***&page=2"),
        ("http://host/f?page=2&api%5Fkey=abc#top", "http://host/f?page=2&api%5Fkey=***#top"),
        ("http://u:p@host?Access-Token=a@b", "http://***@host?Access-Token=***"),
        ("https://host/f?X-Amz-Signature=ab&sig=c", "https://host/f?X-Amz-Signature=***&sig=***"),
        ("http://host?token=${secret:TOKEN}&pwd=x", "http://host?token=${secret:TOKEN}&pwd=***"),
        ("http://user:p?token=w@host/x", "http://***@host/x"),
        ("http://host?token=&author=me&key=k", "http://host?token=&author=me&key=k"),
        ("ray-job://x?password=a", "ray-job://x?password=***"),
        ("user:pw@host/path", "***@host/path"),
        ("user:pw@host", "***@host"),
        ("//user:pw@host/path", "//***@host/path"),
        ("http:/user:pw@host/path", "http:/***@host/path"),
        ("http:\\\\user:pw@host\\path", "http:\\\\***@host\\path"),
        ("http://host/a?to=http://user:pw@other/", "http://host/a?to=http://***@other/"),
        ("ab://user:pw@key", "ab://***@key"),
        ("rillflow://shop:order", "rillflow://shop:order"),
        ("ray-actor://counter@models/add", "ray-actor://counter@models/add"),
        ("ray-actor://user:pw@host/add", "ray-actor://***@host/add"),
        ("ray-actor://a@b/http://user:pw@other/", "ray-actor://a@b/http://***@other/"),
        ("", ""),
    ],
)
def test_user_info_is_hidden_and_nothing_else(address: str, shown: str) -> None:
    assert without_user_info(address) == shown


@pytest.mark.parametrize(
    "address", ["http://me:secret@h/a b", "http://me:sec/ret@h/x", "http://me:secret@"]
)
def test_an_address_that_is_refused_is_named_without_its_password(address: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_http_url(address)
    assert "ret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_addresses_of_tasks_are_shown_without_their_passwords() -> None:
    shown = redacted_part({"name": "A", "resourceName": "http://me:secret@h/f"})
    assert shown == {"name": "A", "resourceName": "http://***@h/f"}
