"""The workflow language: paths, conditions, literals, mappings and expressions; pure."""
