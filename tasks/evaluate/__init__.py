"""Measure a bundle on the test split, and judge the figures."""
