"""The store of clusters: a PostgreSQL database that every node reaches.

`store.py` is the adapter; it consists of `journal.py` and `catalogue.py` over `database.py`.
"""
