"""Divide a dataset and write its Ground Truth manifests."""
