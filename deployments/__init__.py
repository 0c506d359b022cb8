"""What stays up, and the settings of each environment."""
