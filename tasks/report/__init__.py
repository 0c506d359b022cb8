"""One HTML page that shows and explains a run."""
