"""Paths: the JSONPath dialect of Jayway JsonPath 2.8.0."""
