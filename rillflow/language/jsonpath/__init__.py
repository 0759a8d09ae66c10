"""JSONPath in the dialect of Jayway JsonPath 2.8.0: parsing, compiling, and reading documents.

Mappings and conditions call `paths.py`. A path never changes a document.
"""
