"""What all networks share when they learn: loop, schedule, checkpoints, weights. The modules here import torch."""

import os

# Threads of torch that wait actively for each other stand still when another program wants the same cores: a step of
# 0.2 s then takes 9 s (measured on two cores beside two busy programs). Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
