"""Buckets of an S3 store: made, and told how long to keep what nobody needs."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.stores.s3_requests import answered

if TYPE_CHECKING:
    from botocore.client import BaseClient

_LEAST_SIZE = "TransitionDefaultMinimumObjectSize"
"""What a lifecycle says besides its rules; a store forgets it when rules come without it."""


def has_bucket(client: "BaseClient", bucket: str) -> bool:
    """Whether the credentials' owner has a bucket of this name.

    Raises:
        RequestError: when the store refuses to tell.
        EnvironmentFailed: when it does not answer.
    """
    listed = answered(f"s3://{bucket}", client.list_buckets)
    return any(one["Name"] == bucket for one in listed.get("Buckets", ()))


def make_bucket(client: "BaseClient", bucket: str) -> None:
    """Make a bucket; raises as `has_bucket` does."""
    answered(f"s3://{bucket}", partial(client.create_bucket, Bucket=bucket))


def unfinished_uploads_rule(days: int) -> Mapping[str, Any]:
    """Return the lifecycle rule that removes the parts of uploads that were begun and not finished within some days."""
    return {
        "ID": "keeneye-unfinished-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }


def has_rule(client: "BaseClient", bucket: str, rule: Mapping[str, Any]) -> bool:
    """Whether a bucket has just this lifecycle rule, among others; raises as `has_bucket` does."""
    return rule in _lifecycle(client, bucket).get("Rules", ())


def put_rule(client: "BaseClient", bucket: str, rule: Mapping[str, Any]) -> None:
    """Give a bucket a lifecycle rule in place of that with its ID; others stay. Raises as `has_bucket` does."""
    there = _lifecycle(client, bucket)
    others = [one for one in there.get("Rules", ()) if one.get("ID") != rule["ID"]]
    kept = {name: there[name] for name in (_LEAST_SIZE,) if name in there}
    configuration = {"Rules": [*others, rule]}
    ask = partial(client.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration=configuration)
    answered(f"s3://{bucket}", partial(ask, **kept))


def _lifecycle(client: "BaseClient", bucket: str) -> Mapping[str, Any]:
    from botocore.exceptions import ClientError

    def ask() -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = client.get_bucket_lifecycle_configuration(Bucket=bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchLifecycleConfiguration":
                raise
            return {}
        return found

    return answered(f"s3://{bucket}", ask)
