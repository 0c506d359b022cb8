"""The name of what no object is. Light, for what only reads manifests needs no pixels."""

BACKGROUND = "background"
"""A class of this name, in any case, says what the background looks like; it never gets a box."""
