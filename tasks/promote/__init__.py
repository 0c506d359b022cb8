"""May a version move to an environment: the comparison with what stands there, and what speaks against it."""
