"""The code of expressions and statements: small Python functions that the compiler combines."""
