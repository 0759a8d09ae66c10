"""Callback addresses that functions get, and what arrives at them."""
