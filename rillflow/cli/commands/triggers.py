"""Commands that add, list, change and fire triggers over HTTP.

Used by `cli/application.py`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of, not_blank
from rillflow.cli.visible import print_json, say, visible_line

NEVER: Final = "-"

triggers = typer.Typer(
    name="triggers",
    help="Start executions by a schedule, by signed requests, or by records of a topic."
    '\n\n    $ rillflow triggers add examples:quickstart "0 0 6 * * MON-FRI" --id morning'
    "\n\n    $ rillflow triggers list",
    no_args_is_help=True,
)

TriggerId = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


Descriptor = Annotated[
    str, typer.Argument(metavar="DESCRIPTOR", help="Which definition: business:feature[:alias]")
]
Expression = Annotated[
    str | None,
    typer.Argument(metavar="CRON", help="Six fields (second first), five, or a macro: @daily"),
]
Kafka = Annotated[
    str | None,
    typer.Option(
        help="In place of CRON, the records of a topic: a JSON object with brokers, topic and more."
    ),
]
Webhook = Annotated[
    str | None,
    typer.Option(
        help="In place of CRON, signed requests: a JSON object with signature, secret and more."
    ),
]
SourceSettings = Annotated[
    str | None,
    typer.Option(
        "--source", help="In place of CRON, a type that a package adds: a JSON object with type."
    ),
]
NewId = Annotated[
    str | None,
    typer.Option("--id", callback=not_blank, help="Its id; by default the next number."),
]
Data = Annotated[
    str,
    typer.Option(
        "--data", "-d", help="Data of the executions: a JSON object, @FILE, or - for stdin."
    ),
]
TimeZone = Annotated[
    str | None, typer.Option(callback=not_blank, help="Zone of the times: Europe/Berlin")
]
Start = Annotated[
    str | None, typer.Option(callback=not_blank, help="It does not fire before this time.")
]
End = Annotated[
    str | None, typer.Option(callback=not_blank, help="It does not fire from this time on.")
]
Jitter = Annotated[
    float | None, typer.Option("--jitter", min=0, help="Most seconds of delay of a firing.")
]
OverlapPolicy = Annotated[
    str | None,
    typer.Option(
        callback=not_blank,
        help="While the last execution runs: allow, skip, queue_one or cancel_running.",
    ),
]
CatchUp = Annotated[
    str | None,
    typer.Option(
        callback=not_blank, help="Times missed in an outage that are fired: none, last, or 5"
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the trigger of this id.")]


@triggers.callback()
def group() -> None:
    """Start executions by a schedule, by signed requests, or by records of a topic."""


@triggers.command()
def add(
    descriptor: Descriptor,
    cron: Expression = None,
    trigger_id: NewId = None,
    data: Data = "{}",
    time_zone: TimeZone = None,
    start: Start = None,
    end: End = None,
    jitter_s: Jitter = None,
    overlap: OverlapPolicy = None,
    catch_up: CatchUp = None,
    kafka: Kafka = None,
    webhook: Webhook = None,
    source: SourceSettings = None,
    replace: Replace = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Add a trigger and print its id.

    $ rillflow triggers add examples:quickstart "0 2 * * *" --id nightly --time-zone Europe/Berlin

    $ rillflow triggers add shop:order --id push --webhook @push.json

    $ rillflow triggers add shop:order --kafka '{"brokers": "kafka:9092", "topic": "orders"}'
    """
    from rillflow.cli.inputs import json_argument

    fields = {
        "time_zone": time_zone,
        "start": start,
        "end": end,
        "jitter_s": jitter_s,
        "overlap": overlap,
        "catch_up": catch_up,
        "kafka": None if kafka is None else json_argument(kafka),
        "webhook": None if webhook is None else json_argument(webhook),
        "source": None if source is None else json_argument(source),
    }
    with client_of(url) as client:
        added = client.triggers.add(
            descriptor, cron, json_argument(data), trigger_id=trigger_id, replace=replace, **fields
        )
    say(str(added["id"]))
    if "hint" in added:
        say(str(added["hint"]), err=True)


@triggers.command("list")
def list_triggers(as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List triggers by id: what they start, their next time, and what they have done.

    $ rillflow triggers list
    """
    with client_of(url) as client:
        found = client.triggers.all()
    if as_json:
        print_json(found)
        return
    for each in found:
        say(visible_line(line_of(each)))


@triggers.command()
def show(trigger_id: TriggerId, url: Url = DEFAULT_URL) -> None:
    """Print a trigger with its context and what it has done, as JSON.

    $ rillflow triggers show nightly
    """
    with client_of(url) as client:
        print_json(client.triggers.show(trigger_id))


@triggers.command()
def pause(trigger_id: TriggerId, url: Url = DEFAULT_URL) -> None:
    """Have a trigger fire nothing until it is resumed.

    $ rillflow triggers pause nightly
    """
    with client_of(url) as client:
        client.triggers.pause(trigger_id)


@triggers.command()
def resume(trigger_id: TriggerId, url: Url = DEFAULT_URL) -> None:
    """Have a trigger fire again; the times of the pause are not made up for.

    $ rillflow triggers resume nightly
    """
    with client_of(url) as client:
        client.triggers.resume(trigger_id)


@triggers.command()
def fire(
    trigger_id: TriggerId,
    begin: Annotated[
        str | None,
        typer.Option("--from", callback=not_blank, help="With --to: all times of a span."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", callback=not_blank, help="The last time of the span.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Start an execution now, or those of past times that were not started; print their ids.

    $ rillflow triggers fire nightly

    $ rillflow triggers fire nightly --from 2026-03-01 --to 2026-03-07
    """
    if (begin is None) != (end is None):
        raise typer.BadParameter("--from and --to belong together")
    with client_of(url) as client:
        if begin is not None and end is not None:
            for execution_id in client.triggers.backfill(trigger_id, begin, end):
                say(execution_id)
        else:
            say(client.triggers.fire(trigger_id))


@triggers.command()
def remove(trigger_id: TriggerId, url: Url = DEFAULT_URL) -> None:
    """Remove a trigger.

    $ rillflow triggers remove nightly
    """
    with client_of(url) as client:
        client.triggers.remove(trigger_id)


def line_of(trigger: Any) -> str:
    """Return a trigger as a line for people."""
    parts = [trigger["id"], trigger["descriptor_id"], *_what_and_when(trigger)]
    parts.append(f"fired {trigger['fired']}")
    if trigger["skipped"]:
        parts.append(f"skipped {trigger['skipped']}")
    if trigger["error"]:
        parts.append(f"error: {trigger['error']}")
    return "  ".join(parts)


def _what_and_when(trigger: Any) -> list[str]:
    """Return what fires a trigger, and when it fires next, or how its source is."""
    if trigger.get("cron") is not None:
        following = "paused" if trigger["paused"] else _time(trigger.get("next_ms"))
        return [f"{trigger['cron']} {trigger.get('time_zone')}", f"next {following}"]
    if trigger.get("webhook") is not None:
        return [str(trigger.get("path")), "paused" if trigger["paused"] else "open"]
    details = trigger.get(trigger["type"])
    topic = details.get("topic") if isinstance(details, dict) else None
    what = trigger["type"] if topic is None else f"{trigger['type']} {topic}"
    state = "paused" if trigger["paused"] else trigger.get("state") or "waits for its owner"
    if not trigger["paused"] and trigger.get("state_ms"):
        state += f" since {_time(trigger['state_ms'])}"
    reason = trigger.get("state_reason")
    return [what, f"{state}: {reason}" if reason and not trigger["paused"] else state]


def _time(at_ms: int | None) -> str:
    if not at_ms:
        return NEVER
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
