"""Learn what is normal: patches of good images, remembered."""
