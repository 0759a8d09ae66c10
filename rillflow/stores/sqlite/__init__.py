"""The embedded store: one SQLite file, shared by the processes of one machine.

`store.py` is the adapter; it consists of `journal.py` and `catalogue.py` over `database.py`. Copy
this folder's structure for a new store.
"""
