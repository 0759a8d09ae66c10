"""The outcomes of past calls by their idempotency keys, for calls that are made again.

Used by `functions/calls.py`.
"""

from collections import OrderedDict
from typing import NamedTuple

from rillflow.functions.limits import Limits
from rillflow.functions.running import Outcome


class _Kept(NamedTuple):
    outcome: Outcome
    digest: bytes
    until_s: float


class KeptOutcomes:
    """Outcomes, limited by number, bytes and time; the oldest are dropped first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: tuple[str, str], digest: bytes, outcome: Outcome, *, now_s: float) -> None:
        """Keep an outcome, unless it alone is larger than the limit of all."""
        self._drop_old(now_s)
        if len(outcome.body) > self._limits.kept_bytes:
            return
        self._kept[key] = _Kept(outcome, digest, now_s + self._limits.kept_s)
        self.kept_bytes += len(outcome.body)
        while (
            self.kept_bytes > self._limits.kept_bytes
            or len(self._kept) > self._limits.kept_outcomes
        ):
            self._drop_first()

    def get(self, key: tuple[str, str], *, now_s: float) -> tuple[Outcome, bytes] | None:
        """Return an outcome and the digest of its input."""
        self._drop_old(now_s)
        kept = self._kept.get(key)
        return (kept.outcome, kept.digest) if kept is not None else None

    def _drop_old(self, now_s: float) -> None:
        while self._kept and next(iter(self._kept.values())).until_s < now_s:
            self._drop_first()

    def _drop_first(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self.kept_bytes -= len(kept.outcome.body)
