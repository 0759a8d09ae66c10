"""SQL and rows that the adapters share: searches, templates, triggers, rows of a new database.

Used by `stores/sqlite`, `stores/postgres` and `stores/memory`; it holds no connection.
"""
