"""What each category of task does: function, groups, and those that need nobody."""
