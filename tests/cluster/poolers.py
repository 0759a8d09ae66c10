"""The PgBouncer of the system, for tests of what lies between a store and PostgreSQL."""

import os
import shutil


def pgbouncer() -> str | None:
    """Return the path of PgBouncer; None where there is none."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
