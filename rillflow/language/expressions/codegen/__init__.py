"""The code that the compiler puts together for expressions and statements."""
