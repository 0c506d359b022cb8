"""The pictures of the demo set: three-lead transistors, painted from geometry and random numbers alone."""
