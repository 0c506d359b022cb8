"""Shards of images and who carries them out."""
