"""The commands, by subject; each module adds its own to the application.

`cli/application.py` imports them. They call the client and print; what happens to an execution is
decided by the server.
"""
