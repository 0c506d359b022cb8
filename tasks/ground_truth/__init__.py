"""Ground Truth manifests: every dialect read, checked as the managed service checks, and written."""
