"""Execution ids tell their submit time, as Rill Flow's do, and whether an actor is their own."""

import uuid
from typing import Final

import pytest

from rillflow.ids import child_execution_id, is_dedicated, new_execution_id, submitted_at_ms

AT_MS: Final = 1_795_600_000_123
UNIX_EPOCH_TICKS: Final = 122_192_928_000_000_000
ENTROPY: Final = [bytes(10), b"\xff" * 10, bytes(range(10))]


@pytest.mark.parametrize("dedicated", [False, True])
@pytest.mark.parametrize("entropy", ENTROPY)
def test_an_id_has_a_uuid_of_version_1_that_tells_the_time(
    entropy: bytes, *, dedicated: bool
) -> None:
    made = new_execution_id("shop", "order", at_ms=AT_MS, entropy=entropy, dedicated=dedicated)
    service, _, digits = made.partition("_c_")
    number = uuid.UUID(digits)
    assert service == "shop:order"
    assert (number.version, number.variant) == (1, uuid.RFC_4122)
    assert (number.time - UNIX_EPOCH_TICKS) // 10_000 == AT_MS
    assert submitted_at_ms(made) == AT_MS
    assert is_dedicated(made) is dedicated


def test_its_node_is_no_machine_and_what_is_random_differs() -> None:
    made = {new_execution_id("b", "f", at_ms=AT_MS, entropy=entropy) for entropy in ENTROPY}
    assert len(made) == len(ENTROPY)
    assert all(uuid.UUID(one.partition("_c_")[2]).node >> 40 & 1 for one in made)


@pytest.mark.parametrize(
    ("earlier", "dedicated"),
    [
        ("01890a5d-ac96-774a-bcce-b302099a8057", False),
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
    ],
)
def test_ids_of_earlier_releases_are_read_as_they_were_meant(
    earlier: str, *, dedicated: bool
) -> None:
    assert submitted_at_ms(f"b:f_c_{earlier}") == 0x01890A5DAC96
    assert is_dedicated(f"b:f_c_{earlier}") is dedicated


def test_an_attempt_starts_one_child_however_often_it_is_repeated() -> None:
    first, again, next_one = (
        child_execution_id("b", "f", attempt=("b:f_c_x", "A", attempt), at_ms=AT_MS)
        for attempt in (1, 1, 2)
    )
    assert first == again
    assert first != next_one
