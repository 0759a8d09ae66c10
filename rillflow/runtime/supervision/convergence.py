"""Reconciliation: the next step from the running actors to the wanted ones.

A pure function of what is wanted and of what runs. It is asked again after each step, and needs no
memory, so that a controller that dies in between loses nothing. The rules:

- Execution actors of another partition map end together, each drained, before the first one of
  the wanted map starts. So there are never two maps at once, and no two owners of a partition.
- Whatever else is out of date is replaced one by one, each drained, and nothing is replaced while
  another actor does not answer. So a deployment that does not start stops at its first actor.
- What is not wanted any more ends when nothing uses it any more.
- Code that a node has and others have not is told; starting an actor again there changes nothing.

Used by `actors`, `actors/takeover/actor_watch.py` and `serve/stack/front.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from rillflow.ports.deployment import Deployment

EXECUTION: Final = "execution"
DISPATCHER: Final = "dispatcher"
DEDICATED: Final = "dedicated"
Kind: TypeAlias = Literal["execution", "dispatcher", "dedicated"]


class Running(NamedTuple):
    """An actor that there is.

    Attributes:
        name: Its name in Ray.
        kind: What it does.
        deployment: What it was started with; None for an actor of a release that does not say, and
            for one that is silent.
        is_silent: Whether it does not answer.
        is_ready: Whether it takes calls.
        code_version: The code that it runs; empty when that is not known.
    """

    name: str
    kind: Kind
    deployment: Deployment | None
    is_silent: bool = False
    is_ready: bool = True
    code_version: str = ""


class Start(NamedTuple):
    """Start these actors."""

    names: tuple[str, ...]


class Replace(NamedTuple):
    """Have an actor finish what it is at, end it, and start it with what is wanted.

    One that ``is_silent`` is asked for nothing.
    """

    name: str
    is_silent: bool = False


class End(NamedTuple):
    """Have actors finish what they are at, and end them for good; none before all have."""

    names: tuple[str, ...]


class Wait(NamedTuple):
    """Do nothing now.

    Attributes:
        reason: A sentence for people.
        may_last: Whether that is no reason to look again soon.
    """

    reason: str
    may_last: bool = False


Step: TypeAlias = Start | Replace | End | Wait


def next_step(  # noqa: PLR0913 - all that there is to see
    wanted: Deployment,
    names: Sequence[tuple[str, Kind]],
    running: Sequence[Running],
    *,
    stays: Collection[str] = (),
    given_up: Collection[str] = (),
    failing: Collection[str] = (),
) -> Step | None:
    """Return the next step, or None when what runs is what is wanted.

    Args:
        wanted: What should run.
        names: The dispatchers and execution actors that it has, those first that start first.
        running: What runs, whether it is wanted or not.
        stays: Actors that are left alone now, since they did not finish what they were at.
        given_up: Silent actors that have had time enough to answer.
        failing: Actors that have not started, and are not started again yet.
    """
    compared = _Comparison(wanted, dict(names), running, stays, given_up, failing)
    steps = (
        compared.superseded(),
        compared.of_other_map(),
        compared.silent(),
        compared.stopped(),
        compared.missing(),
        compared.starting(),
        compared.outdated(),
        compared.surplus(),
        compared.busy(),
        compared.other_code(),
    )
    return next((step for step in steps if step is not None), None)


def sentence_of(step: Step, wanted: Deployment, running: Sequence[Running] = ()) -> str:
    """Say what a step does, for people.

    Args:
        step: The step.
        wanted: What should run.
        running: What ran when the step was found.
    """
    match step:
        case Start(names):
            return f"{_listed(names)} being started"
        case Replace(name, is_silent):
            its = next((each.deployment for each in running if each.name == name), None)
            why = "does not answer" if is_silent else f"was started with {_differs(its, wanted)}"
            return f"{name} is being replaced, since it {why}"
        case End(names):
            return f"{_listed(names)} being ended"
        case Wait(reason):
            return reason


def _differs(its: Deployment | None, wanted: Deployment) -> str:
    """Say in what a deployment differs from the wanted one."""
    if its is None:
        return "what it does not say"
    if its.store_id != wanted.store_id:
        return "another store"
    counts = (
        (its.execution_actors, wanted.execution_actors, "execution actors"),
        (its.dispatcher_actors, wanted.dispatcher_actors, "dispatchers"),
    )
    code = f"code {its.code_version} in place of {wanted.code_version}"
    differences = [
        *([code] if its.code_version != wanted.code_version else ()),
        *(["other settings"] if its.settings_digest != wanted.settings_digest else ()),
        *(["other secrets"] if its.secrets_digest != wanted.secrets_digest else ()),
        *(f"{what}: {there} in place of {many}" for there, many, what in counts if there != many),
    ]
    version = f"version {its.version} of the deployment in place of {wanted.version}"
    return ", ".join([version, *differences])


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


class _Comparison(NamedTuple):
    """What is wanted beside what runs; each method returns the step that one rule asks for."""

    wanted: Deployment
    names: Mapping[str, Kind]
    running: Sequence[Running]
    stays: Collection[str]
    given_up: Collection[str]
    failing: Collection[str]

    def superseded(self) -> Step | None:
        """Leave a later deployment alone."""
        for actor in self.running:
            its = actor.deployment
            if its and its.store_id == self.wanted.store_id and its.version > self.wanted.version:
                return Wait(f"{actor.name} was started by a later deployment")
        return None

    def of_other_map(self) -> Step | None:
        """End the owners of another map together, and those that might be some."""
        owners = [actor for actor in self.running if actor.kind == EXECUTION]
        others = [actor for actor in owners if not actor.is_silent and not self._has_map(actor)]
        if not others:
            return None
        return End(tuple(actor.name for actor in owners if actor in others or actor.is_silent))

    def silent(self) -> Step | None:
        """Wait for those that do not answer; end one that has not for long."""
        silent = [actor.name for actor in self._stack() if actor.is_silent]
        for name in silent:
            if name in self.given_up:
                return End((name,))
        return Wait(f"{', '.join(silent)} does not answer") if silent else None

    def stopped(self) -> Step | None:
        """Start the actor of a dedicated execution again that has not answered for long."""
        for actor in self.running:
            if actor.kind == DEDICATED and actor.is_silent and actor.name in self.given_up:
                return Replace(actor.name, is_silent=True)
        return None

    def missing(self) -> Step | None:
        """Start what is wanted and not there, all of one kind together."""
        there = {actor.name for actor in self.running}
        missing = [name for name in self.names if name not in there]
        for kind in (DISPATCHER, EXECUTION):
            names = [name for name in missing if self.names[name] == kind]
            if startable := [name for name in names if name not in self.failing]:
                return Start(tuple(startable))
        return Wait(f"{', '.join(missing)} does not start") if missing else None

    def starting(self) -> Step | None:
        """Wait for those that do not take calls yet; what is out of date need not come so far."""
        unready = [actor for actor in self._stack() if not actor.is_ready]
        for actor in unready:
            if not self._is_current(actor) and actor.name in self.names:
                return Replace(actor.name)
        return Wait(f"{', '.join(actor.name for actor in unready)} starts") if unready else None

    def outdated(self) -> Step | None:
        """Replace one that is out of date."""
        for actor in self._outdated():
            if actor.name not in self.stays:
                return Replace(actor.name)
        return None

    def surplus(self) -> Step | None:
        """End what is not wanted, once nothing that is out of date uses it."""
        if any(actor.kind != DISPATCHER for actor in self._outdated()):
            return None
        for actor in self._stack():
            if actor.name not in self.names and actor.name not in self.stays:
                return End((actor.name,))
        return None

    def busy(self) -> Step | None:
        """Wait for those that do not finish what they are at."""
        surplus = [actor for actor in self._stack() if actor.name not in self.names]
        busy = [actor.name for actor in (*self._outdated(), *surplus)]
        if not busy:
            return None
        return Wait(f"{', '.join(busy)} did not finish the calls under way", may_last=True)

    def other_code(self) -> Step | None:
        """Wait for people: a node whose files are others runs others, however often it starts."""
        known = ("", self.wanted.code_version)
        others = [actor.name for actor in self.running if actor.code_version not in known]
        if not others:
            return None
        return Wait(
            f"{', '.join(others)} runs other code than was deployed: install the same Rillflow on"
            " every node, or ship it by runtime_env",
            may_last=True,
        )

    def _stack(self) -> Iterator[Running]:
        return (actor for actor in self.running if actor.kind != DEDICATED)

    def _outdated(self) -> list[Running]:
        """Return those to replace, in their order."""
        return [
            actor
            for kind in (DISPATCHER, EXECUTION, DEDICATED)
            for actor in self.running
            if actor.kind == kind and not actor.is_silent and not self._is_current(actor)
            # One that starts may not know yet what it was started with.
            if (actor.is_ready if kind == DEDICATED else actor.name in self.names)
        ]

    def _has_map(self, actor: Running) -> bool:
        return (
            actor.deployment is not None
            and actor.deployment.store_id == self.wanted.store_id
            and actor.deployment.partition_map == self.wanted.partition_map
        )

    def _is_current(self, actor: Running) -> bool:
        return actor.deployment == self.wanted
