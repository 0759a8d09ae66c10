"""Requests and answers in Rill Flow's form, and how the OpenAPI document describes them."""
