"""The model bundle: its format, its preprocessing, its predictor."""
