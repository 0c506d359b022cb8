"""What stands on top of the features: kinds of classifiers, their search, calibration, thresholds and export."""
