"""Buckets of a real object store: made where the client says, also when the answer to that gets lost."""

import pytest

from tasks.errors import RequestError
from tasks.stores import s3_requests
from tasks.stores.s3_buckets import has_bucket, make_bucket
from tasks.stores.s3_requests import transfer_client
from tests.faulty_proxy import Cut, running_proxy


@pytest.mark.parametrize(
    ("region", "told"), [("us-east-1", b""), ("eu-central-1", b"<LocationConstraint>eu-central-1</LocationConstraint>")]
)
def test_region_is_told_where_the_store_wants_it(in_object_store, monkeypatch, region, told):
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    client, bodies = transfer_client(), []
    client.meta.events.register("before-call.s3.CreateBucket", lambda params, **_: bodies.append(params["body"] or b""))
    make_bucket(client, f"made-in-{region}")
    assert len(bodies) == 1
    assert told in bodies[0]
    assert bool(bodies[0]) == bool(told)
    assert has_bucket(client, f"made-in-{region}")


def test_bucket_that_was_made_is_no_error_when_the_answer_gets_lost(in_object_store, monkeypatch):
    monkeypatch.setattr(s3_requests, "PAUSES", (0.01,))
    with running_proxy(in_object_store.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        client = transfer_client()
        proxy.faults.append(Cut())
        make_bucket(client, "made-twice")
        assert proxy.connections == 2
    assert has_bucket(transfer_client(), "made-twice")


def test_name_that_is_no_bucket_is_refused(in_object_store):
    with pytest.raises(RequestError, match="s3://-no-"):
        make_bucket(transfer_client(), "-no-")
