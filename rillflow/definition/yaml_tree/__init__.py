"""YAML text as a tree whose nodes keep the source text and its place."""
