"""YAML text -> validated workflow definitions, and back to canonical text."""
