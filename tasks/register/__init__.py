"""Register a bundle as a version, and give it its status."""
