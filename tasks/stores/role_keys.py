"""The variables of an object store's keys, alone in a module: who makes or hands on a key needs no client.

A role's name is its access key's id too.
"""

from collections.abc import Mapping

STORE_KEY_ID, STORE_SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
STORE_ADDRESS, STORE_REGION = "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"
ROLE_SECRETS = {
    "ingest": "KEENEYE_STORE_INGEST_SECRET",
    "train": "KEENEYE_STORE_TRAIN_SECRET",
    "serve": "KEENEYE_STORE_SERVE_SECRET",
}
"""By role, the variable of its key's secret."""
RUNS_ROLE = "ingest"
"""Of runs: it reads images and writes results."""


def key_of_role(role: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which a client has the key of a role.

    Args:
        role: one of `ROLE_SECRETS`.
        values: secrets by their variables.
    """
    return {STORE_KEY_ID: role, STORE_SECRET: values[ROLE_SECRETS[role]]}
