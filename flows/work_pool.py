"""What a Prefect server holds for workers: the work pool, and how many runs of a kind there may be at once."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound

from flows.provision_config import WORK_POOL


def has_work_pool(client: SyncPrefectClient) -> bool:
    """Whether the server has the work pool."""
    try:
        client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        return False
    return True


def make_work_pool(client: SyncPrefectClient) -> None:
    """Make the work pool, whose workers run flows as processes."""
    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))


def has_limit(client: SyncPrefectClient, tag: str, most: int) -> bool:
    """Whether no more than `most` tasks with a tag may run at once."""
    try:
        return bool(client.read_concurrency_limit_by_tag(tag).concurrency_limit == most)
    except ObjectNotFound:
        return False


def set_limit(client: SyncPrefectClient, tag: str, most: int) -> None:
    """Let no more than `most` tasks with a tag run at once; tasks that run keep their places."""
    client.create_concurrency_limit(tag, most)
