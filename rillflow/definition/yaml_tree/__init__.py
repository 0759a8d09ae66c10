"""YAML text as a tree whose nodes know what was written, and where."""
