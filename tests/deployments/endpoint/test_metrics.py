import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.endpoint.access import Told, line
from deployments.endpoint.metrics import Metrics
from tasks.serving.service import ServiceStats
from tests.deployments.endpoint.served import PICTURE, SECRET

STATS = ServiceStats(
    pending=3, models=(("bolts", "3"), ("nuts", "1")), loads=4, batches=3, images=9, batch_sizes={1: 1, 4: 2}
)


def samples(page):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_figures_of_service_and_requests():
    metrics = Metrics(lambda: STATS, lambda: 77)
    metrics.count("/v1/models", "", 200, 0.03)
    metrics.count("DetectCustomLabels", "bolts", 200, 0.2)
    metrics.count("DetectCustomLabels", "bolts", 200, 20)
    found = samples(metrics.page().decode())
    route = ("route", "DetectCustomLabels")
    assert found["keeneye_requests_total", ("model", "bolts"), route, ("status", "200")] == 2
    assert found["keeneye_request_seconds_bucket", ("le", "0.2"), route] == 1
    assert found["keeneye_request_seconds_count", route] == 2
    assert found["keeneye_pending",] == 3
    assert found["keeneye_body_bytes",] == 77
    assert found["keeneye_loaded_models", ("model", "nuts"), ("version", "1")] == 1
    assert found["keeneye_model_loads_total",] == 4
    sizes = {"1.0": 1, "2.0": 1, "4.0": 3, "8.0": 3, "16.0": 3, "32.0": 3}
    assert {le: found["keeneye_batch_images_bucket", ("le", le)] for le in sizes} == sizes
    assert found["keeneye_batch_images_bucket", ("le", "+Inf")] == found["keeneye_batch_images_count",] == 3
    assert found["keeneye_batch_images_sum",] == 9
    assert found["process_resident_memory_bytes",] > 1e6


def test_batch_buckets_are_there_before_any_batch():
    idle = ServiceStats(pending=0, models=(), loads=0, batches=0, images=0, batch_sizes={})
    found = samples(Metrics(lambda: idle, lambda: 0).page().decode())
    assert sum(name[0] == "keeneye_batch_images_bucket" for name in found) == 7


def test_figures_of_a_running_endpoint(endpoint):
    with endpoint.client() as client:
        client.post("/v1/models/colours@staging:predict", content=PICTURE)
        client.post("/v1/models/invented@staging:predict", content=PICTURE)
        client.get("/invented")
        page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    found = samples(page.text)
    route = ("route", "/v1/models/{name}@{qualifier}:predict")
    assert found["keeneye_requests_total", ("model", "colours"), route, ("status", "200")] >= 1
    assert found["keeneye_requests_total", ("model", ""), route, ("status", "404")] >= 1
    assert found["keeneye_requests_in_flight",] == 1  # the one that asks
    assert found["keeneye_loaded_models", ("model", "colours"), ("version", "1")] == 1
    assert "invented" not in page.text


def test_log_has_a_line_per_request_and_no_secret(endpoint):
    with endpoint.client() as client:
        client.post("/v1/models/colours@staging:predict?max_results=77", content=PICTURE)
        client.get("/v1/x%0aGET /forged 200 1ms")
        # A line is written when its answer has gone; one more answer, and both lines before it are there.
        client.get("/v1/models")
    log = endpoint.log()
    assert re.search(r"^POST /v1/models/colours@staging:predict 200 \d+\.\dms colours/1$", log, re.MULTILINE)
    assert not re.search(r"^GET /forged", log, re.MULTILINE)
    assert r"/v1/x\nGET /forged" in log
    assert "max_results=77" not in log
    assert SECRET not in log


@pytest.mark.parametrize(
    ("about", "status", "written"),
    [
        pytest.param(Told("/"), 400, "POST /a 400 12.3ms", id="plain"),
        pytest.param(
            Told("/", "DetectCustomLabels", "b", "3"), 200, "POST /a DetectCustomLabels 200 12.3ms b/3", id="all"
        ),
        pytest.param(
            Told("/", "DetectCustomLabels", code="AccessDeniedException"),
            400,
            "POST /a DetectCustomLabels 400 AccessDeniedException 12.3ms",
            id="refused",
        ),
    ],
)
def test_line(about, status, written):
    assert line({"method": "POST", "path": "/a"}, about, status, 0.01234) == written + "\n"


def test_line_is_short_and_printable():
    written = line({"method": "GET", "path": "/\x1b[31m" + "a" * 5000}, Told(), 404, 0)
    assert written.startswith(r"GET /\x1b[31ma")
    assert len(written) < 300
