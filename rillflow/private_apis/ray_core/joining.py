"""How a driver finds a running Ray and its token, where Ray has no public function.

Used by `client/ray_transport/driver.py` and `serve/stack/cluster_check.py`.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Final

from ray._private import grpc_utils, ray_constants, services
from ray._private.authentication import authentication_token_setup
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # Ray has no types
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from rillflow.private_apis.assumption import Assumption, missing, other_parameters

ANSWER_S: Final = 5.0


def is_locked_out(address: str) -> bool:
    """Tell whether the Ray at ``host:port`` refuses the token of this process, or wants one.

    Ray itself tries for half a minute then, and writes a line for each try. Where nobody can be
    asked, the answer is no.
    """
    channel = grpc_utils.init_grpc_channel(address, ray_constants.GLOBAL_GRPC_OPTIONS)
    try:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        stub.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=ANSWER_S)
    except grpc_utils.grpc.RpcError as error:
        return bool(error.code() == grpc_utils.grpc.StatusCode.UNAUTHENTICATED)
    finally:
        channel.close()
    return False


def address_from_environment(address: str) -> str:
    """Return the address that Ray would find for ``auto``, or what was given.

    Raises:
        ConnectionError: Ray finds several, or none that it was told of.
    """
    return str(services.get_ray_address_from_environment(address, None) or address)


def has_token() -> bool:
    """Tell whether this process has a token for Ray, whether or not Ray would use it."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def use_token() -> None:
    """Have Ray use the machine's token for whatever address is joined next.

    Ray itself does so only for an address that it has found by itself.
    """
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def use_certificate(variables: Mapping[str, str]) -> None:
    """Have Ray encrypt, or not, as these variables say, from the next connection on.

    Ray has read the environment when it was imported.
    """
    os.environ.update(variables)
    Config.initialize("")


def _of_the_certificate() -> Iterator[str]:
    yield from missing(Config, "initialize")


def _of_the_check() -> Iterator[str]:
    yield from other_parameters(
        grpc_utils.init_grpc_channel, "address", "options", "asynchronous", "credentials"
    )
    yield from missing(gcs_service_pb2_grpc, "NodeInfoGcsServiceStub")
    yield from missing(gcs_service_pb2, "CheckAliveRequest")
    yield from missing(ray_constants, "GLOBAL_GRPC_OPTIONS")


def _differences() -> Iterator[str]:
    yield from other_parameters(services.get_ray_address_from_environment, "addr", "temp_dir")
    yield from missing(AuthenticationTokenLoader, "instance", "has_token")
    enable = authentication_token_setup.maybe_enable_token_auth_if_token_available
    yield from other_parameters(enable, "warn_if_disabled")


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="get_ray_address_from_environment, AuthenticationTokenLoader.has_token and"
        " maybe_enable_token_auth_if_token_available",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow.connect() fails",
        differences=_differences,
    ),
    Assumption(
        library="ray",
        relies_on="Config.initialize reads RAY_USE_TLS anew, and each connection its files",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow.connect() fails where Ray encrypts and was imported before",
        differences=_of_the_certificate,
    ),
    Assumption(
        library="ray",
        relies_on="grpc_utils.init_grpc_channel sends the token, and CheckAlive of the GCS is"
        " refused as UNAUTHENTICATED without the right one",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow cluster fails for an address that was named",
        differences=_of_the_check,
    ),
)
