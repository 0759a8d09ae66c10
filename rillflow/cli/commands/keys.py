"""Commands about API keys by name, and about what was done with them.

Used by `cli/application.py`.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of
from rillflow.cli.visible import print_json, say, visible_line

ROLES: Final = ("viewer", "submitter", "operator", "author", "admin")
_LIFE: Final = re.compile(r"([0-9]{1,6})(m|h|d|w)")
_LIFE_S: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

keys = typer.Typer(
    name="keys",
    help="Make, list and revoke API keys by name, each with a role."
    "\n\n    $ rillflow keys add grafana --role viewer --expires 90d"
    "\n\n    $ rillflow keys list",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")]


@keys.callback()
def group() -> None:
    """Make, list and revoke API keys by name, each with a role."""


@keys.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help=f"What the key may do: {', '.join(ROLES)}.")],
    workspace: Annotated[
        list[str] | None,
        typer.Option(help="A workspace that the key is limited to; may be given several times."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long the key lives, as in 12h, 90d or 4w.")
    ] = None,
    submissions_per_s: Annotated[
        int | None, typer.Option(min=1, help="Executions that it may start in a second.")
    ] = None,
    running: Annotated[
        int | None, typer.Option(min=1, help="Unfinished executions that it may have started.")
    ] = None,
    artifact_bytes: Annotated[
        int | None, typer.Option(min=1, help="Bytes of artifacts of what it has started.")
    ] = None,
    audit_submissions: Annotated[
        bool, typer.Option("--audit-submissions", help="Have the audit name what it submits.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a key, and print it. The server keeps its hash only: it is shown this once.

    Whoever runs this needs the key of the settings, or one that is admin of everything.

        $ rillflow keys add grafana --role viewer --workspace video --expires 90d
    """
    query = {"name": name, "role": role, **_limited_to(workspace)}
    if expires is not None:
        query["expires_s"] = str(_seconds(expires))
    quota = {
        "submissions_per_s": submissions_per_s,
        "running": running,
        "artifact_bytes": artifact_bytes,
    }
    if audit_submissions:
        query["audit_submissions"] = "true"
    query |= {name: str(most) for name, most in quota.items() if most is not None}
    with client_of(url) as client:
        made: Any = client.manage_keys("add", **query)
    if as_json:
        print_json(made)
    else:
        say(str(made["key"]))


@keys.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the keys, with those that were revoked or have expired.

    $ rillflow keys list
    """
    with client_of(url) as client:
        found: Any = client.manage_keys("list")
    if as_json:
        print_json(found)
        return
    if not found["keys"]:
        say("there are no keys; rillflow keys add makes one", err=True)
    for key in found["keys"]:
        workspaces = ", ".join(key.get("workspaces", [])) or "all workspaces"
        quota = "".join(f"  {name} {most}" for name, most in key.get("quota", {}).items())
        say(f"{key['name']:<24} {key['role']:<10} {_state(key):<28} {workspaces}{quota}")


@keys.command()
def revoke(name: Name, url: Url = DEFAULT_URL) -> None:
    """End a key, and the console sessions and streams that were begun with it.

    $ rillflow keys revoke grafana
    """
    with client_of(url) as client:
        client.manage_keys("revoke", name=name)
    say(f"revoked {name}")


def _limited_to(workspaces: list[str] | None) -> dict[str, str]:
    if workspaces and not all(each.strip(" ,") for each in workspaces):
        # An unset variable of a shell must not make a key for everything.
        raise typer.BadParameter("a workspace is empty: leave --workspace out for a key to all")
    return {"workspaces": ",".join(workspaces)} if workspaces else {}


def _seconds(text: str) -> int:
    match = _LIFE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise typer.BadParameter("a life is a number with m, h, d or w, as in 90d")
    return int(match[1]) * _LIFE_S[match[2]]


def _state(key: Any) -> str:
    if key.get("revoked_at_ms") is not None:
        return "revoked"
    ends_ms = key.get("expires_at_ms")
    if not key["valid"]:
        return "expired"
    return "valid" if ends_ms is None else f"valid until {_day(ends_ms)}"


def _day(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "a time far away"


def audit(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many entries.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="The next of an earlier page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List who has changed what, the newest first.

    $ rillflow audit --limit 20
    """
    query = {"limit": str(limit)}
    if before is not None:
        query["before"] = str(before)
    with client_of(url) as client:
        found: Any = client.manage_keys("audit", **query)
    if as_json:
        print_json(found)
        return
    for each in found["entries"]:
        who = each.get("key") or "the key of the settings"
        facts = (_day(each["at_ms"]), who, each.get("address", ""), each["action"])
        more = f"  ({each['unnoted']:,} more refused before)" if each.get("unnoted") else ""
        line = "  ".join([*facts, each.get("subject", ""), str(each.get("status", ""))])
        say(visible_line(line + more))
    if found.get("next") is not None:
        say(f"more: --before {found['next']}", err=True)
