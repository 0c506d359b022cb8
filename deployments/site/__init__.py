"""A site: the servers around Keeneye, started and kept as processes, here or one in each container."""
