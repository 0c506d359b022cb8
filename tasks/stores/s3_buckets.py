"""Buckets of an S3 store: made, and told how long to keep what nobody needs."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.stores.s3 import REGION
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
    """Make a bucket where the client says that the store is; one that is there already stays.

    Raises as `has_bucket` does.
    """
    from botocore.exceptions import ClientError

    region = client.meta.region_name
    # The managed store takes no word of its first region, and refuses a bucket of another one without it.
    place = {} if region in {REGION, None} else {"CreateBucketConfiguration": {"LocationConstraint": region}}

    def ask() -> None:
        try:
            client.create_bucket(Bucket=bucket, **place)
        except ClientError as error:  # it was made, and the answer got lost on the way
            if error.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
                raise

    answered(f"s3://{bucket}", ask)


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
