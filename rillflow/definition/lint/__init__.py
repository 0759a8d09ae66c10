"""Warnings: what is allowed in a definition and will not do what its author hopes."""
