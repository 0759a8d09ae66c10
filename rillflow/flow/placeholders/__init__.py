"""What stands for a value while a flow is traced, and what authors write with it.

Used by `flow`; it knows no tasks.
"""
