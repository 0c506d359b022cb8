"""The comparison of candidates: who is measured next, who is stopped, who is recommended."""
