"""What options of a network may be at most: for the fields of a request, and for a search that goes on from them."""

MAX_LEARNING_RATE = 1.0
MAX_FROZEN_STAGES = 20
