"""Functions that ask to be left alone: what is known of them, and which dispatches wait."""
