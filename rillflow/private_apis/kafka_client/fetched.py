"""Bounds what consumers have fetched and not yet read, of all clients of a process.

The library fetches up to so much of each partition, and a topic may have thousands of partitions,
of which few are read at once. Here a consumer fetches nothing while it holds its share. What it
holds of partitions whose records are dealt with is let go of then, and fetched again later.

Used by `private_apis/kafka_client/limits.py` and `gateways/kafka/client.py`.
"""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rillflow.private_apis.assumption import Assumption, not_in_source

MOST_FETCHED_BYTES: Final = 64 << 20
"""What all consumers of a process share."""
MOST_OF_ONE_BYTES: Final = 4 << 20
LEAST_OF_ONE_BYTES: Final = 256 << 10
"""A consumer may fetch in any case while it holds less."""
FULL_S: Final = 0.05
"""How long a consumer waits that holds its share, before it looks again."""


def share_bytes(consumers: int) -> int:
    """Return what one of so many consumers may hold before it fetches no more."""
    return max(min(MOST_FETCHED_BYTES // max(consumers, 1), MOST_OF_ONE_BYTES), LEAST_OF_ONE_BYTES)


def held_bytes(fetcher: Any) -> int:
    """Return what a fetcher holds of all partitions, with the record that was read last of each."""
    return sum(_size_of(each) for each in fetcher._records.values())  # noqa: SLF001 - no public one


def let_go(fetcher: Any, places: Iterable[Any]) -> list[Any]:
    """Let go of what was fetched of partitions; return those of which there was something.

    It is fetched again, from the position of the partition, unless that is paused.
    """
    gone = []
    for place in places:
        held = fetcher._records.get(place)  # noqa: SLF001 - no public one
        if held is None or not _size_of(held):
            continue
        del fetcher._records[place]  # noqa: SLF001 - the same
        # A reference of the iterator to what it reads would keep that until the next collection.
        held._partition_records._records_iterator.close()  # noqa: SLF001 - the same
        held._partition_records = None  # noqa: SLF001 - the same
        gone.append(place)
    return gone


def _size_of(held: Any) -> int:
    """Return the size of what was fetched of a partition; 0 for an error, or what is used up."""
    records = getattr(held, "_partition_records", None)
    return 0 if records is None else int(records._records.size_in_bytes())  # noqa: SLF001 - no public one


def _differences() -> Iterator[str]:
    fetcher = importlib.import_module("aiokafka.consumer.fetcher")
    yield from not_in_source(fetcher.Fetcher, "self._records = collections.", "self._records[tp] =")
    yield from not_in_source(fetcher.FetchResult, "self._partition_records = partition_records")
    yield from not_in_source(
        fetcher.FetchResult.getall, "len(ret_list) >= max_records", "self._update_position()"
    )
    yield from not_in_source(
        fetcher.PartitionRecords.__init__, "self._records = records", "self._records_iterator ="
    )


RELIES_ON: Final = (
    Assumption(
        library="aiokafka",
        relies_on="what was fetched and not read is in a mapping by partition, and each partition"
        " has the position of the record that was read last",
        seen_with="0.14.0",
        if_it_changes="loud: Kafka triggers fail with an AttributeError"
        " (tests/unit/test_kafka_fetches.py notices)",
        differences=_differences,
    ),
)
