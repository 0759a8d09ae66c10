"""What Rill Flow's web console reads and writes: definitions, rules, lists, templates."""
