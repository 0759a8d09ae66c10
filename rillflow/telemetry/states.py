"""What a process tells of its metrics, as a message between processes.

Used by `actors`, `ports`, `runtime`, `telemetry` and `serve`.
"""

from typing import TypeAlias

import msgspec

Labels: TypeAlias = tuple[str, ...]


class MetricState(msgspec.Struct, frozen=True, array_like=True):
    """The values of one metric by the values of its labels.

    A counter and a gauge have one number each, a summary the number of observations and their sum,
    a histogram the observations in each bucket, those beyond the last one, and the sum.
    """

    name: str
    values: list[tuple[Labels, list[float]]]


class ProcessState(msgspec.Struct, frozen=True, array_like=True):
    """The metrics of one process; ``is_reached`` is False if it has not answered."""

    process: str
    metrics: list[MetricState] = []
    is_reached: bool = True


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[ProcessState])


def encode_states(states: list[ProcessState]) -> bytes:
    """Encode what processes tell."""
    return _encoder.encode(states)


def decode_states(data: bytes) -> list[ProcessState]:
    """Decode what processes have told."""
    return _decoder.decode(data)
