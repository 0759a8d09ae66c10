"""``rillflow-haproxy``: HAProxy for Serve on a cluster, through ``config.py``.

RAY_SERVE_HAPROXY_BINARY_PATH names it when Ray starts (``cluster.yaml``). It sets no limits of
addresses and of times, since whoever has a cluster may have a load balancer in front of it.
"""

import os
import sys
from typing import Final

from rillflow.private_apis.haproxy.config import main
from rillflow.private_apis.haproxy.start import haproxy_binary

_OWN_PATH: Final = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Names this program, and is also where HAProxy would be looked for first."""
_CERTIFICATE: Final = "RILLFLOW_TLS_CERT"
"""Names the certificate in the environment of `ray start`; its key is in the same file, or in one
of the same name with ``.key`` after it."""
_AS_SERVE_SAYS: Final = "127.0.0.1"
"""The address that stands for itself: HAProxy listens where Serve's configuration says."""


def run() -> None:
    """Become HAProxy with the arguments of this program."""
    os.environ.pop(_OWN_PATH, None)
    main(_AS_SERVE_SAYS, "", os.environ.get(_CERTIFICATE, ""), [haproxy_binary(), *sys.argv[1:]])
