"""Engineered features: numbers that describe an image without a network."""
