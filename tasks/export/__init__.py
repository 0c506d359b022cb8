"""Write the ground truth of a dataset version to a folder of the user's, in a format of the field."""
