"""`keeneye provision`: buckets, experiments, models, users, blocks, limits, deployments, made where they are missing.

Each part knows whether it is as it should be, so that a second run changes nothing.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from prefect.client.orchestration import SyncPrefectClient
from pydantic import BaseModel

from flows.arrival_events import server
from flows.deploying import are_deployed, deploy_all, deployment_names
from flows.provision_config import WORK_POOL, ProvisionConfig, promotion_limit, training_limit
from flows.store_block import BLOCK, has_block, save_block, wanted_value
from flows.work_pool import has_limit, has_work_pool, make_work_pool, set_limit
from tasks.errors import RequestError
from tasks.stores import s3_buckets
from tasks.stores.home import Home
from tasks.stores.role_keys import STORE_ADDRESS
from tasks.stores.s3_requests import transfer_client
from tasks.tracking.provisioning import Roles, has_experiment, has_model, make_experiment, make_model
from tasks.tracking.runs import experiment_of

Outcome = Literal["unchanged", "made", "would be made"]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a site is to have.

    Attributes:
        kind: what it is: "bucket".
        name: its own.
        is_there: whether it is as it should be.
        make: makes it so.
    """

    kind: str
    name: str
    is_there: Callable[[], bool]
    make: Callable[[], None]


class ProvidedPart(BaseModel, frozen=True):
    """What became of a part."""

    kind: str
    name: str
    outcome: Outcome


class ProvisionResult(BaseModel, frozen=True):
    """All parts of the site, in the order in which they were looked at."""

    status: Literal["provisioned", "planned"]
    changed: int
    parts: tuple[ProvidedPart, ...]


def provision(config: ProvisionConfig) -> ProvisionResult:
    """Make what is missing, or say what that is.

    Raises:
        RequestError: when a server refuses, or no Prefect server or no object store is named.
        EnvironmentFailed: when a server does not answer.
    """
    with server() as client:
        parts = (*_store_parts(config), *_mlflow_parts(config), *_prefect_parts(client, config))
        provided = [_provided(part, only_plan=config.plan) for part in parts]
    return ProvisionResult(
        status="planned" if config.plan else "provisioned",
        changed=sum(part.outcome == "made" for part in provided),
        parts=tuple(provided),
    )


def _provided(part: Part, *, only_plan: bool) -> ProvidedPart:
    outcome: Outcome = "unchanged"
    if not part.is_there():
        outcome = "would be made" if only_plan else "made"
        if not only_plan:
            part.make()
    sys.stderr.write(f"keeneye: {part.kind} {part.name}: {outcome}\n")
    return ProvidedPart(kind=part.kind, name=part.name, outcome=outcome)


def _store_parts(config: ProvisionConfig) -> Iterator[Part]:
    if not config.bucket:
        return
    if not os.environ.get(STORE_ADDRESS):
        raise RequestError(
            f"no object store is named in {STORE_ADDRESS} (of Amazon, https://s3.REGION.amazonaws.com); name it, or "
            'leave the store alone with --bucket ""'
        )
    client, bucket = transfer_client(), config.bucket
    rule = s3_buckets.unfinished_uploads_rule(config.unfinished_days)
    has_bucket = partial(s3_buckets.has_bucket, client, bucket)
    yield Part("bucket", bucket, has_bucket, partial(s3_buckets.make_bucket, client, bucket))
    yield Part(
        "lifecycle of",
        bucket,
        lambda: has_bucket() and s3_buckets.has_rule(client, bucket, rule),
        partial(s3_buckets.put_rule, client, bucket, rule),
    )


def _mlflow_parts(config: ProvisionConfig) -> Iterator[Part]:
    home = Home.from_environment()
    for name in map(experiment_of, config.datasets):
        yield Part("experiment", name, partial(has_experiment, home, name), partial(make_experiment, home, name))
    for name in config.models:
        yield Part("registered model", name, partial(has_model, home, name), partial(make_model, home, name))
    roles = Roles.of_environment(home)
    for role in roles.names:
        yield Part("MLflow user", role, partial(roles.is_there, role), partial(roles.make, role))


def _prefect_parts(client: SyncPrefectClient, config: ProvisionConfig) -> Iterator[Part]:
    yield Part("work pool", WORK_POOL, partial(has_work_pool, client), partial(make_work_pool, client))
    limits = {training_limit(): config.trainings, **{promotion_limit(model): 1 for model in config.models}}
    for tag, most in limits.items():
        there, make = partial(has_limit, client, tag, most), partial(set_limit, client, tag, most)
        yield Part("limit", f"{tag} = {most}", there, make)
    value = wanted_value() if config.bucket else {}
    if value:
        yield Part("secret block", BLOCK, partial(has_block, client, value), partial(save_block, value))
    if config.deploy:
        yield Part("deployments", ", ".join(deployment_names()), partial(are_deployed, client), deploy_all)
