"""Every store keeps the audit in the order in which changes were made, and removes what is old."""

from rillflow.ports.storage.access import AuditEntry
from rillflow.ports.storage.store import Store


def entry(at_ms: int, workspace: str = "shop", **more: str) -> AuditEntry:
    return AuditEntry(at_ms=at_ms, action="cancel", workspace=workspace, **more)  # type: ignore[arg-type]


async def test_entries_are_listed_newest_first_in_pages(store: Store) -> None:
    entries = [entry(at_ms, subject=f"é-{at_ms}") for at_ms in (10, 30, 20)]
    await store.note_audit(entries[:2])
    await store.note_audit(entries[2:])
    found = await store.audit_entries(limit=2)
    assert [each.entry for each in found] == [entries[2], entries[1]]
    following = await store.audit_entries(before=found[-1].number, limit=2)
    assert [each.entry for each in following] == [entries[0]]
    assert await store.audit_entries(before=following[0].number, limit=2) == []


async def test_entries_of_some_workspaces_are_listed_apart(store: Store) -> None:
    await store.note_audit([entry(1, name) for name in ("shop", "video", "", "shop")])
    found = await store.audit_entries(workspaces=["video"], limit=9)
    assert [each.entry.workspace for each in found] == ["video"]
    both = await store.audit_entries(workspaces=["video", "shop"], limit=9)
    assert [each.entry.workspace for each in both] == ["shop", "video", "shop"]
    assert await store.audit_entries(workspaces=["none"], limit=9) == []


async def test_old_entries_are_removed_some_at_a_time(store: Store) -> None:
    await store.note_audit([entry(at_ms) for at_ms in range(10)])
    assert await store.trim_audit(before_ms=5, limit=3) == 3
    assert await store.trim_audit(before_ms=5, limit=3) == 2
    assert await store.trim_audit(before_ms=5, limit=3) == 0
    left = await store.audit_entries(limit=99)
    assert [each.entry.at_ms for each in left] == [9, 8, 7, 6, 5]
