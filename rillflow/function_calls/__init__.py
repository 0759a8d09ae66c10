"""How a Python function is called with the input of a task: arguments, results, failures.

It is the same for functions that Ray calls (`rillflow/ray_tasks`) and for those that HTTP calls
(`rillflow/functions`). It knows neither of them.
"""
