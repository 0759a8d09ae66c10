"""How a Python function is called with the input of a task: arguments, results, failures.

It is the same for functions that Ray calls and for those that HTTP calls.
"""
