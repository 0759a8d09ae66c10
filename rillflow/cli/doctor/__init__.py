"""What `rillflow doctor` examines: the installation, this machine, the settings, store and server.

Each module yields findings about one part. None of them changes anything, but that a database is
asked, and that addresses which the settings name are looked up and connected to.
"""
