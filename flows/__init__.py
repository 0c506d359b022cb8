"""What runs: one file is one deployable flow."""
