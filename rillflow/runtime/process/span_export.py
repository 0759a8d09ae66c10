"""The export of spans from this process, if the variables of OpenTelemetry allow it.

Used by `actors/execution_actor.py`.
"""

import logging
import os

from rillflow.telemetry.collector import HOW_TO_INSTALL, is_disabled, otlp_export
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.span_queue import SpanQueue, limits_of

log = logging.getLogger("rillflow.traces")


def span_queue(meters: Meters) -> SpanQueue | None:
    """Return the queue of spans to export; None if nothing is exported.

    What is wrong with the variables, or missing, is logged: no execution waits for a trace.
    """
    if is_disabled(os.environ):
        return None
    try:
        export = otlp_export(os.environ, meters.process)
    except ImportError:
        log.warning("spans_not_exported", extra={"reason": HOW_TO_INSTALL})
        return None
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a variable of OpenTelemetry
        log.warning(
            "spans_not_exported", extra={"reason": f"{type(error).__name__}: {error}"[:300]}
        )
        return None
    return SpanQueue(export, meters, limits_of(os.environ))
