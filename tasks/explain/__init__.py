"""Where a classifier looks: heat maps of answers to images that it did not learn from."""
