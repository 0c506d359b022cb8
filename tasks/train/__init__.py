"""Features, classifier, estimate and bundle."""
