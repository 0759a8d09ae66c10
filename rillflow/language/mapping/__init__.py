"""Mappings and conditions: rules that copy values between context, input and output.

The core applies them. They know no tasks: the caller passes context, input and output.
"""
