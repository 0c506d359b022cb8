"""Annotation formats of the field: what a source says of its images, read and written."""
