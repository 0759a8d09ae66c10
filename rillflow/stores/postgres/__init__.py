"""The store of clusters: a PostgreSQL database that every node reaches."""
