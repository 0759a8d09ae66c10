"""What the actors of a stack report, for operators and the controller.

Used by the actors and the stack; it changes nothing.
"""
