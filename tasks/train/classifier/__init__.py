"""Classifiers that are networks as a whole. The modules here import torch; nobody imports them before it is needed."""

import tasks.train.learning  # noqa: F401 - says how torch's threads wait, before torch is loaded
