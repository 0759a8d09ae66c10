"""What a deployment file may not change while Serve runs."""

from typing import Any, Final

import pytest
from ray.serve.config import HTTPOptions
from ray.serve.schema import HTTPOptionsSchema, ServeDeploySchema

from rillflow.private_apis.ray_serve.listening import Listening
from serve.stack.http_options import listening_elsewhere, other_options

LOOPBACK: Final = "127.0.0.1"


@pytest.mark.parametrize("running", [("127.0.0.1", 8080), ("0.0.0.0", 8081)])
def test_an_address_that_a_running_serve_does_not_listen_on_is_an_error(
    running: tuple[str, int],
) -> None:
    wanted = HTTPOptionsSchema(host="127.0.0.1", port=8081)
    [found] = listening_elsewhere(running, wanted)
    assert found.is_error
    assert f"listens on {running[0]}:{running[1]}, and starts to listen on 127.0.0.1:8081" in (
        found.sentence
    )
    assert "`rillflow cluster stop`" in found.sentence


def test_the_address_of_a_running_serve_may_be_asked_for() -> None:
    wanted = HTTPOptionsSchema(host=LOOPBACK, port=8081)
    assert not list(listening_elsewhere((LOOPBACK, 8081), wanted))


def test_the_options_that_serve_runs_with_may_be_asked_for() -> None:
    for location in ("HeadOnly", ""):
        assert not _told({}, location=location)
        assert not _told({"ssl_certfile": "/c", "ssl_keyfile": "/k"}, "HeadOnly", same=True)


@pytest.mark.parametrize(
    ("options", "location", "named"),
    [
        ({"root_path": "/flows"}, "HeadOnly", "http_options.root_path: "),
        (
            {"ssl_certfile": "/c", "ssl_keyfile": "/k", "ssl_keyfile_password": "s3cret"},
            "HeadOnly",
            (
                "http_options.ssl_keyfile, http_options.ssl_certfile,"
                " http_options.ssl_keyfile_password: "
            ),
        ),
        ({}, "EveryNode", "proxy_location: "),
    ],
)
def test_what_serve_cannot_change_is_refused_without_its_values(
    options: dict[str, Any], location: str, named: str
) -> None:
    [(sentence, is_error)] = _told(options, location)
    assert is_error
    assert sentence.startswith(f"{named}Serve runs with another value than the file has")
    assert sentence.endswith("and deploy then")
    assert "s3cret" not in sentence


def test_timeouts_are_told_and_not_refused_since_serve_may_have_its_own() -> None:
    [(sentence, is_error)] = _told({"request_timeout_s": 30, "keep_alive_timeout_s": 5})
    assert not is_error
    assert sentence.startswith(
        "http_options.request_timeout_s, http_options.keep_alive_timeout_s: "
    )


def _told(
    options: dict[str, Any], location: str = "HeadOnly", *, same: bool = False
) -> list[tuple[str, bool]]:
    """Have a file ask for options of a Serve that was started without them, or with the same."""
    file = ServeDeploySchema(proxy_location="HeadOnly", http_options=options, applications=[])
    running = Listening(HTTPOptions(**(options if same else {})), location)
    return [(each.sentence, each.is_error) for each in other_options(running, file)]
