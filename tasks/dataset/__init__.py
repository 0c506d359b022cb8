"""Truth, entries, manifests, splits and versions of datasets."""
