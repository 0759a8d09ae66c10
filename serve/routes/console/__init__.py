"""The endpoints for Rill Flow's web console: definitions, rules, lists and templates."""
