"""Every reader of text from outside takes time proportional to its length.

Lines of Python are counted, which gives the same number every time. What is done in one call
of a library in C has no lines; there processor time must stay far below what a square takes:
the reader of JSON that began anew at each character took half a second for 16 KiB.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Final

import pytest

from tests.machine_speed import least
from tests.untrusted_readers import READERS, Reader, hostile_texts, read, well_formed_texts

LENGTH: Final = 2_000
LONG: Final = 16 * 1024
MOST_S: Final = 0.25
FREE_LINES: Final = 3_000
"""What a reader may do once, whatever the length."""
PER_CHARACTER: Final = 80
"""How many lines each character may cost; if each led through half of the text, it were 1,000."""
EVERY: Final = 5
"""Lines are counted for every so-manyth text, since counting takes long."""


WELL_FORMED: Final = frozenset(what for what, _ in well_formed_texts(LENGTH))


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines that are run, and those of functions that they call."""
    count = 0

    def trace(_: FrameType, event: str, __: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def texts(size: int) -> Mapping[str, str]:
    return {**dict(hostile_texts(size)), **dict(well_formed_texts(size))}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_each_character_costs_a_bounded_number_of_lines(reader: Reader) -> None:
    costly = []
    for number, (what, text) in enumerate(texts(LENGTH).items()):
        if number % EVERY == 0 or what in WELL_FORMED:
            lines = lines_of(lambda text=text: read(reader, text))  # type: ignore[misc]
            if lines > len(text) * PER_CHARACTER + FREE_LINES:
                costly.append((what, lines))
    assert not costly


@pytest.mark.one_in(10)
@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_no_text_takes_the_square_of_its_length(reader: Reader) -> None:
    slow = []
    for what, text in texts(min(LONG, reader.most)).items():
        took_s = least(lambda text=text: read_s(reader, text), MOST_S)  # type: ignore[misc]
        if took_s >= MOST_S:
            slow.append((what, took_s))
    assert not slow


def read_s(reader: Reader, text: str) -> float:
    """Read a text; return what it took."""
    begun_s = time.thread_time()
    read(reader, text)
    return time.thread_time() - begun_s


def test_a_reader_that_begins_anew_at_each_character_is_found() -> None:
    def quadratic(text: str) -> None:
        for start in range(len(text)):
            for _ in text[start:]:
                pass

    lines = lines_of(lambda: read(Reader("quadratic", quadratic), "a" * LENGTH))
    assert lines > LENGTH * PER_CHARACTER + FREE_LINES
