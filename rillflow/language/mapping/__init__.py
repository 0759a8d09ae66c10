"""Mappings and conditions: rules that copy values between context, input and output."""
