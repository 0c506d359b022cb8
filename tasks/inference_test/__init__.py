"""Fetch the registered version in a fresh process and let it answer."""
