"""Read a source, check its files, leave bad ones out as findings."""
