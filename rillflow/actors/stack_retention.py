"""The retention of a stack, as its settings want it.

Used by `actors/execution_actor.py`.
"""

from rillflow.artifact_settings import artifact_settings
from rillflow.artifacts.calls import opened_store
from rillflow.ports.storage.store import Store
from rillflow.runtime.backpressure.store_room import ArchiveRoom
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.retention import Retention
from rillflow.settings import Settings
from rillflow.stores.archive import Archive
from rillflow.telemetry.meters import Meters


def retention_of(settings: Settings, store: Store, meters: Meters) -> Retention:
    """Return what removes ended executions from a store, and counts in these meters."""
    room = ArchiveRoom(settings)
    return Retention(
        store,
        SystemClock(),
        keep_s=settings.keep_finished_s,
        keep_count=settings.keep_finished_count,
        archive=Archive(settings.archive_dir, room.require) if settings.archive_dir else None,
        artifacts=opened_store(*artifact_settings(settings)[:5]),
        audit=store,
        keep_audit_s=settings.keep_audit_s,
        meters=meters,
    )
