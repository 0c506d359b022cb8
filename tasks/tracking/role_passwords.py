"""The variables of MLflow's passwords, alone in a module: who makes the passwords needs nothing of MLflow."""

PASSWORDS = {"train": "KEENEYE_TRAIN_PASSWORD", "serve": "KEENEYE_SERVE_PASSWORD"}
"""By role, the variable that holds the password of its user."""
