"""Serving: from image bytes to the answer of a registered model, many at a time."""
