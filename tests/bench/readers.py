"""How long readers of text from outside take, against the length of the text.

``python -m tests.bench.readers`` prints the slowest text of each reader; for each length the
time, malformed and well-formed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from rillflow.runtime.process.gc_tuning import tune_gc
from tests.bench.figures import Figure
from tests.untrusted_readers import READERS, Reader, hostile_texts, read, well_formed_texts

KIBIBYTE: Final = 1024
SIZES: Final = (4 * KIBIBYTE, 16 * KIBIBYTE, 64 * KIBIBYTE)
COMPARED: Final = 16 * KIBIBYTE

Texts: TypeAlias = Callable[[int], Iterable[tuple[str, str]]]


class Slowest(NamedTuple):
    """The text that took longest."""

    ms: float
    what: str


def readers() -> Iterator[Figure]:
    """Measure the slowest of all readers."""
    for kind, texts in _kinds():
        took = (_slowest(reader, texts, COMPARED).ms for reader in READERS)
        yield Figure(f"slowest reader, {kind}, 16 KiB", "ms", max(took))


def _kinds() -> tuple[tuple[str, Texts], ...]:
    return (("malformed", hostile_texts), ("well-formed", well_formed_texts))


def _slowest(reader: Reader, texts: Texts, size: int) -> Slowest:
    slowest = Slowest(0.0, "")
    for what, text in texts(min(size, reader.most)):
        begun_s = time.thread_time()
        read(reader, text)
        slowest = max(slowest, Slowest((time.thread_time() - begun_s) * 1000, what))
    return slowest


def main(names: list[str]) -> None:
    """Print the table, of some readers or of all."""
    tune_gc()
    sizes = "".join(f"{size // KIBIBYTE:>7} KiB" for size in SIZES)
    print(f"{'ms, the slowest text of each length':46}{sizes}")
    for reader in READERS:
        for kind, texts in _kinds() if not names or reader.name in names else ():
            found = [_slowest(reader, texts, size) for size in SIZES]
            took = "".join(f"{each.ms:11.2f}" for each in found)
            print(f"{reader.name:32} {kind:13}{took}   {found[-1].what}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
