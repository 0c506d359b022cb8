"""The endpoint: wire protocols in front of `tasks/serving`."""
