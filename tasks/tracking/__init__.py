"""Runs and registry: the only room that knows MLflow."""
