"""Addresses from outside are split in time proportional to their length."""

from urllib.parse import urljoin, urlsplit

import pytest

from rillflow.core.inspection.history.traces import _host_of
from rillflow.errors import GatewayError
from rillflow.gateways.http.responses import poll_url
from rillflow.gateways.outbound.exchange import Reply
from rillflow.gateways.outbound.targets import effective_protocol, http_target, parse_http_url
from rillflow.runtime.dispatch.client import dispatcher_index
from rillflow.url_parts import LONGEST_NAME, join_url, split_url
from tests.machine_speed import processor_time

COMBINING = "a" + "\u0315" * 50_000 + "\u0300" * 50_000
"""In the order in which a normalization has to exchange each with each: twenty seconds."""
HOSTILE = (
    f"http://{COMBINING}/",
    f"http://user:{COMBINING}@host/",
    f"//{COMBINING}",
    f"http:/\n/{COMBINING}?q",
    f" http:\t//{COMBINING}#f",
)
MOST_S = 0.5


@pytest.mark.parametrize("url", HOSTILE)
def test_a_long_host_that_is_not_ascii_is_refused_before_it_is_normalized(url: str) -> None:
    moved = Reply(202, "", {"location": url.strip()}, b"")
    with processor_time(MOST_S):
        with pytest.raises(ValueError, match="not ASCII"):
            split_url(url)
        with pytest.raises(ValueError, match="not ASCII"):
            join_url("http://host/path", url)
        with pytest.raises(GatewayError):
            parse_http_url(url.strip())
        with pytest.raises(GatewayError):
            http_target(url.strip().removeprefix("http://"), "http")
        dispatcher_index(url, 2)
        _host_of(url)
        assert poll_url(moved, "http://host/") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://host/path?q#f",
        "http://bücher.example/a/b",
        f"http://host/{COMBINING}",
        f"/{COMBINING}",
        "http://" + "a" * 10_000 + "/",
        "http://user:" + "p" * 2_000 + "@host:1/",
        "mailto:somebody",
        "",
    ],
)
def test_all_others_are_split_as_the_library_does(url: str) -> None:
    assert split_url(url) == urlsplit(url)
    assert join_url("http://host/a/b", url) == urljoin("http://host/a/b", url)


def test_no_host_is_longer_than_a_name_can_be() -> None:
    longest = "a" * LONGEST_NAME
    assert parse_http_url(f"http://{longest}:65535/").origin == f"http://{longest}:65535"
    with pytest.raises(GatewayError, match="not http format"):
        parse_http_url(f"http://{longest}aaaaaaa/")


def test_long_addresses_are_not_kept() -> None:
    first = http_target("http://host/" + "p" * 4_000, None)
    assert http_target("http://host/" + "p" * 4_000, None) == first
    assert http_target("http://host/" + "p" * 4_000, None) is not first
    assert http_target("http://host/p", None) is http_target("http://host/p", None)
    assert http_target("http://host/p", f"{'  ' * 4_000}http") == http_target("http://host/p", None)
    assert effective_protocol("x" * 4_000 + "://y", None) == "x" * 4_000
