"""Requests and answers in Rill Flow's form, and their descriptions in the OpenAPI document.

The routes use it. It decides nothing about executions.
"""
