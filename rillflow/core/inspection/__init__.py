"""Inspection: what an execution does, in the words of the console (docs/console-api.md).

Pure functions over a state, the present one or one that a replay has rebuilt. `runtime/owner`
calls them; nothing here changes a state.
"""
