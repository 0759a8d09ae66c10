"""Whether a Ray lets a process in is asked once, before Ray itself tries for half a minute."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pytest
from ray._private import grpc_utils
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from rillflow.errors import StackError
from rillflow.private_apis.ray_core.joining import is_locked_out
from serve.stack.cluster_check import joined
from tests.loopback import closed_port

grpc: Final = grpc_utils.grpc


class Gcs(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):  # type: ignore[misc] # no types
    """The one call of Ray's GCS that is asked, which answers, or fails with a code."""

    def __init__(self, code: Any) -> None:
        self._code = code
        self.asked = 0

    def CheckAlive(self, request: object, context: Any) -> object:  # noqa: N802 - Ray's name
        """Answer, or refuse."""
        del request
        self.asked += 1
        if self._code is not None:
            context.abort(self._code, "no")
        return gcs_service_pb2.CheckAliveReply()


@contextmanager
def gcs(code: Any) -> Iterator[tuple[Gcs, str]]:
    """Run one on this machine."""
    with ThreadPoolExecutor(max_workers=1) as threads:
        server = grpc.server(threads)
        service = Gcs(code)
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield service, f"127.0.0.1:{port}"
        finally:
            server.stop(None)


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        (None, False),
        (grpc.StatusCode.UNAUTHENTICATED, True),
        # It is there, and somebody may be let in: Ray tells more.
        (grpc.StatusCode.UNAVAILABLE, False),
    ],
)
def test_only_who_is_not_let_in_is_locked_out(code: Any, *, is_refused: bool) -> None:
    with gcs(code) as (service, address):
        assert is_locked_out(address) == is_refused
        assert service.asked == 1


def test_where_nobody_listens_nobody_is_locked_out() -> None:
    assert not is_locked_out(f"127.0.0.1:{closed_port()}")


def test_a_wrong_token_is_told_in_one_sentence_without_a_try_of_ray(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with gcs(grpc.StatusCode.UNAUTHENTICATED) as (_, address):
        with pytest.raises(StackError, match="RAY_AUTH_TOKEN_PATH") as refused, joined(address):
            pass
        assert str(refused.value).endswith(f"(at {address})")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
