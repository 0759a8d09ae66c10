"""Large bodies that are worked on have so many bytes, and each owner half of them."""

import pytest

from rillflow.errors import OverloadedError
from serve.limits.work_room import SMALL_BYTES, WorkRoom

MOST = 8 * SMALL_BYTES


def test_an_owner_has_half_and_leaves_the_rest_to_others() -> None:
    work = WorkRoom(MOST, "bodies")
    with work.hold(("key a", "workspace evil"), MOST // 2):
        for owners in (("key a", "workspace shop"), ("key b", "workspace evil")):
            with pytest.raises(OverloadedError) as refused, work.hold(owners, SMALL_BYTES + 1):
                pass
            assert refused.value.http_status == 503
        with work.hold(("key b", "workspace shop"), MOST // 2):
            with pytest.raises(OverloadedError), work.hold((), SMALL_BYTES + 1):
                pass
            with work.hold(("key a",), SMALL_BYTES):
                pass
    with work.hold(("key a", "workspace evil"), MOST // 2):
        pass


def test_one_is_always_worked_on_and_who_has_no_share_may_have_all() -> None:
    work = WorkRoom(MOST, "bodies")
    with work.hold(("key a",), 3 * MOST):
        pass
    with work.hold((), MOST // 2), work.hold((), MOST // 2):
        pass
