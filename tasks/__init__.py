"""How each box of the picture works: stages, and the nouns they share."""
