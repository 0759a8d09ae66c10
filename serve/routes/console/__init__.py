"""The endpoints that Rill Flow's web console calls: definitions, rules, lists and templates."""
