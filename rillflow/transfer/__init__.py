"""Moving definitions, triggers and executions from one database to another, through a file.

`rillflow export` and `rillflow import` use it. It knows the form of the file, and no SQL.
"""
