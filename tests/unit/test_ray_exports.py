"""What Ray keeps the code of is made once in a process, however often it is needed."""

import pytest

from rillflow.ray_tasks.exports import actor_class, remote_function


class Kind:
    """A class of this module."""


def run() -> None:
    """Do nothing."""


def test_each_class_and_function_is_made_once() -> None:
    assert actor_class(Kind) is actor_class(Kind)
    assert remote_function(run) is remote_function(run)
    assert remote_function(run, 10) is remote_function(run, 10)
    assert remote_function(run, 10) is not remote_function(run)


def test_what_is_made_anew_each_time_is_refused() -> None:
    class Local:
        """A class of this call."""

    with pytest.raises(ValueError, match="is not of a module"):
        actor_class(Local)
    with pytest.raises(ValueError, match="<lambda> is not of a module"):
        remote_function(lambda: None)
