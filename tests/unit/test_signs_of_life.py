"""An actor has stopped when neither its lease nor an answer has shown for too long that it runs."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from rillflow.ports.storage.lease import OwnerLease
from rillflow.runtime.supervision.signs_of_life import (
    ASKED_S,
    GONE_S,
    LATE_S,
    LIKELY_S,
    STOPPED_S,
    SUSPECT_S,
    SignsOfLife,
)

LOOK_S: Final = 0.25
OWNER: Final = "owner"
DISPATCHER: Final = "dispatcher"


class Watched:
    """Signs of an owner and a dispatcher, looked at four times a second by a clock of the test."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.renewals = 0
        self.life = "a"
        self.signs = SignsOfLife(now_s=lambda: self.now_s)

    def look(self) -> list[str]:
        """Look once."""
        lease = OwnerLease(OWNER, self.life, self.renewals)
        return self.signs.look((OWNER, DISPATCHER), [lease])

    def go_on(self, seconds: float, *, renews: bool = False, answers: tuple[str, ...] = ()) -> None:
        """Look again and again for so long."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += LOOK_S
            self.renewals += renews
            for name in answers:
                self.signs.give(name)
            self.look()


def test_who_gives_no_sign_has_stopped_after_five_seconds() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(STOPPED_S - LOOK_S)
    assert watched.signs.stopped(()) == []
    watched.go_on(LOOK_S)
    assert watched.signs.stopped(()) == [DISPATCHER, OWNER]


def test_who_gives_no_sign_for_two_seconds_has_probably_stopped() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(LIKELY_S - LOOK_S, answers=(DISPATCHER,))
    assert watched.signs.likely_stopped() == set()
    watched.go_on(LOOK_S, answers=(DISPATCHER,))
    assert watched.signs.likely_stopped() == {OWNER}
    watched.signs.give(OWNER)
    assert watched.signs.likely_stopped() == set()


def test_on_a_node_that_cannot_be_reached_two_seconds_are_enough() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(GONE_S - LOOK_S)
    assert watched.signs.stopped((OWNER,)) == []
    watched.go_on(LOOK_S)
    assert watched.signs.stopped((OWNER,)) == [OWNER]


def test_who_is_silent_is_asked_before_it_is_judged() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(SUSPECT_S - LOOK_S)
    assert watched.look() == []
    watched.go_on(LOOK_S)
    assert watched.look() == [OWNER, DISPATCHER]
    watched.signs.give(OWNER)
    watched.go_on(ASKED_S)
    assert watched.look() == [DISPATCHER]


def test_a_lease_that_is_renewed_is_enough_and_so_is_an_answer() -> None:
    watched = Watched()
    watched.go_on(2 * STOPPED_S, renews=True, answers=(DISPATCHER,))
    assert watched.signs.stopped((OWNER, DISPATCHER)) == []
    watched.go_on(2 * STOPPED_S, answers=(OWNER, DISPATCHER))
    assert watched.signs.stopped((OWNER, DISPATCHER)) == []


def test_the_lease_of_another_process_is_a_sign() -> None:
    watched = Watched()
    watched.go_on(STOPPED_S)
    watched.life = "b"
    watched.look()
    assert watched.signs.stopped((OWNER,)) == []


def test_nobody_is_judged_by_what_was_seen_before_a_pause_of_the_watcher() -> None:
    watched = Watched()
    watched.look()
    watched.now_s += max(LATE_S, STOPPED_S) + LOOK_S
    watched.go_on(ASKED_S + LOOK_S)
    assert watched.signs.stopped((OWNER, DISPATCHER)) == []


def test_nobody_is_judged_by_a_look_that_was_long_ago() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(SUSPECT_S)
    watched.now_s += STOPPED_S
    assert watched.signs.stopped((OWNER, DISPATCHER)) == []


def test_who_gives_a_sign_before_it_is_replaced_has_not_stopped() -> None:
    watched = Watched()
    watched.look()
    watched.go_on(STOPPED_S)
    stopped = watched.signs.stopped(())
    before = [OwnerLease(OWNER, watched.life, watched.renewals)]
    assert watched.signs.still_silent(stopped, before) == {OWNER, DISPATCHER}
    assert watched.signs.still_silent([OWNER], before) == {OWNER}
    renewed = [OwnerLease(OWNER, watched.life, watched.renewals + 1)]
    assert watched.signs.still_silent(stopped, renewed) == {DISPATCHER}
    watched.signs.give(DISPATCHER)
    assert watched.signs.still_silent(stopped, before) == {OWNER}


def test_who_has_never_taken_a_lease_is_known() -> None:
    watched = Watched()
    watched.look()
    assert watched.signs.has_lease(OWNER)
    assert not watched.signs.has_lease(DISPATCHER)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 8.0), st.booleans(), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_nobody_who_has_given_a_sign_within_two_seconds_has_stopped(
    looks: list[tuple[float, bool, bool, bool]],
) -> None:
    """Whatever the watcher misses: pauses, renewals, answers, nodes that seem to be gone."""
    watched = Watched()
    sign_s = watched.now_s
    for pause_s, renews, answers, is_gone in looks:
        watched.now_s += pause_s
        watched.renewals += renews
        if answers:
            watched.signs.give(OWNER)
        if renews or answers:
            sign_s = watched.now_s
        watched.look()
        stopped = watched.signs.stopped((OWNER,) if is_gone else ())
        silent_s = watched.now_s - sign_s
        assert OWNER not in stopped or silent_s >= (GONE_S if is_gone else STOPPED_S)
