"""The export of a registered bundle to formats that run elsewhere."""
