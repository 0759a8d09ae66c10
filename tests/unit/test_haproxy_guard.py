"""What the guard makes of the configuration that Ray Serve writes for HAProxy."""

from typing import Final

from serve.haproxy_guard import at_home, patient

WRITTEN: Final = """\
listen stats
    bind *:8404
frontend prometheus
    bind :9101
frontend http_frontend
    bind 0.0.0.0:8080
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path not found."
backend api
    server one 127.0.0.1:5000
"""


def test_only_what_users_ask_for_is_reached_from_elsewhere() -> None:
    lines = at_home(WRITTEN).splitlines()
    assert [line.strip() for line in lines if "bind" in line] == [
        "bind 127.0.0.1:8404",
        "bind 127.0.0.1:9101",
        "bind 0.0.0.0:8080",
    ]
    assert len(lines) == len(WRITTEN.splitlines())


def test_an_api_that_is_still_starting_asks_for_patience() -> None:
    before, after = WRITTEN.splitlines(), patient(WRITTEN).splitlines()
    [(old, new)] = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert "status 404" in old
    assert new.startswith("    http-request return status 503 ")
    assert "hdr Retry-After 1" in new
