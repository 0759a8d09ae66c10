"""The bytes of journals and snapshots, and the form in which contexts are stored.

Used by the core and by readers of journals; it knows no store.
"""
