"""Workers of Ray that are forked from one process, on the machine of ``rillflow up``.

``fork_server.py`` and ``forked_worker.py`` run as programs, from their files. Python puts their
folder first on the path of imports, so no module here may have the name of a library.
"""
