"""The processes of a stack on one machine, as `rillflow up` runs them."""
