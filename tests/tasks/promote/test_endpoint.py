"""A version asked for through a real endpoint, while its alias stands and while it moves."""

import itertools
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.bundle.predictor import Predictor
from tasks.errors import KeeneyeError, RequestError
from tasks.promote import endpoint as endpoint_module
from tasks.promote.endpoint import (
    Credentials,
    EndpointUnreachable,
    VersionNotServed,
    answers_through,
    require_endpoint,
    wait_until_served,
)
from tasks.promote.endpoint_outcome import compare_with_expected
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry
from tests.conftest import free_port
from tests.deployments.endpoint.served import (
    COLOURS,
    KEY_ID,
    KEYS,
    OTHER_ID,
    OTHER_SECRET,
    PICTURE,
    SECRET,
    make_home,
    picture,
    serving,
)

KEY = Credentials(KEY_ID, SECRET)
SLOW_KEY = Credentials("AKTESTSLOW", SECRET)
LIMITS = {"max_confidence_drift": 1e-4, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of this module's own, whose aliases it moves: `dents` and `colours` stand in production."""
    home = make_home(tmp_path_factory.mktemp("moving") / "home")
    registry = Registry(home)
    registry.set_alias(registry.version("colours", "1"), "production")
    return home


@pytest.fixture(scope="module")
def registry(home):
    return Registry(home)


@pytest.fixture(scope="module")
def endpoint(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    keys = folder / "keys.yaml"
    slow = (
        f'- {{access_key_id: {SLOW_KEY.access_key_id}, secret_access_key: {SECRET}, projects: ["*"], max_pending: 1}}'
    )
    keys.write_text(f"{KEYS}{slow}\n")
    keys.chmod(0o600)
    with serving(home, folder, "--environment", "production", "--keys", str(keys)) as running:
        yield running


@pytest.fixture
def version(registry):
    """Return what is registered of a model."""
    return lambda name, number: registry.version(name, number)


@pytest.fixture
def move(endpoint, registry):
    """Move the alias of `dents` to a version; at the end it is back, and served."""
    yield lambda number: registry.set_alias(registry.version("dents", number), "production")
    wait(endpoint, registry.set_alias(registry.version("dents", "1"), "production"))


def wait(endpoint, info, seconds=20.0, key=KEY, **other):
    asked = {"version": info.version, "bundle_digest": info.tags[BUNDLE_DIGEST_TAG]} | other
    return wait_until_served(endpoint.address, key, info.name, "production", seconds=seconds, **asked)


def predictions(registry, info, files):
    predictor = Predictor.open(registry.cached_bundle(info))
    return predictor.predict_bytes(files), predictor.card.thresholds


def compared(registry, info, files, answers):
    expected, thresholds = predictions(registry, info, files)
    told = {"version": info.version, "bundle_digest": info.tags[BUNDLE_DIGEST_TAG]}
    return compare_with_expected(expected, answers, thresholds=thresholds, **told, **LIMITS)


# Is there an endpoint, and does it take the key?


@pytest.mark.parametrize("model", ["dents", "colours", "nobody"])
def test_endpoint_is_there(endpoint, model):
    refused = []
    try:
        require_endpoint(endpoint.address, KEY, model)
    except KeeneyeError as error:
        refused.append(error.message)
    assert refused == []


@pytest.mark.parametrize(
    ("key", "model"),
    [
        pytest.param(None, "dents", id="no key"),
        pytest.param(Credentials(KEY_ID, "not-the-secret-of-it"), "dents", id="wrong secret"),
        pytest.param(Credentials(OTHER_ID, OTHER_SECRET), "dents", id="another model's"),
    ],
)
def test_key_that_is_not_taken_is_a_wrong_request(endpoint, version, key, model):
    calls = [
        lambda: require_endpoint(endpoint.address, key, model),
        lambda: wait(endpoint, version(model, "1"), key=key),
        lambda: answers_through(endpoint.address, key, model, "production", [PICTURE]),
    ]
    for call in calls:
        with pytest.raises(RequestError, match="KEENEYE_ENDPOINT_KEY") as refused:
            call()
        assert "secret-of-it" not in refused.value.message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"KEENEYE_ENDPOINT_KEY": "", "KEENEYE_ENDPOINT_SECRET": ""}, None, id="empty"),
        pytest.param({"KEENEYE_ENDPOINT_KEY": "a", "KEENEYE_ENDPOINT_SECRET": "b"}, Credentials("a", "b"), id="both"),
    ],
)
def test_credentials_come_from_the_environment(environment, expected):
    found = Credentials.from_environment(environment)
    assert found == expected
    assert "'b'" not in repr(found)


@pytest.mark.parametrize("name", ["KEENEYE_ENDPOINT_KEY", "KEENEYE_ENDPOINT_SECRET"])
def test_half_of_the_credentials_is_refused(name):
    with pytest.raises(RequestError, match="come together"):
        Credentials.from_environment({name: "a"})


@contextmanager
def stranger(status, body):
    """Run a server that is no endpoint; yields its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - as its base wants it

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def calls_at(address):
    files = (PICTURE for _ in itertools.count())  # would never end
    return [
        lambda: require_endpoint(address, KEY, "dents"),
        lambda: wait_until_served(address, KEY, "dents", "production", "1", "d" * 64, 30.0),
        lambda: answers_through(address, KEY, "dents", "production", files),
    ]


def test_nobody_there_is_told_at_once():
    address = f"http://127.0.0.1:{free_port()}"
    for call in calls_at(address):
        started = time.monotonic()
        with pytest.raises(EndpointUnreachable, match=f"{address} does not answer.*keeneye serve --environment"):
            call()
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, b"<html>It works!</html>", id="web page"),
        pytest.param(404, b"nothing here", id="not found"),
        pytest.param(502, b"", id="proxy"),
        pytest.param(401, b"who are you", id="asks for a password"),
        pytest.param(200, b"[1]", id="JSON"),
        pytest.param(200, b"{}" + b" " * endpoint_module.MAX_ANSWER_BYTES, id="too much"),
    ],
)
def test_something_else_there_is_no_endpoint(status, body):
    with stranger(status, body) as address:
        for call in calls_at(address):
            with pytest.raises(EndpointUnreachable, match="check the environment's address"):
                call()


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:port"])
def test_address_that_is_none_is_a_wrong_request(address):
    with pytest.raises(RequestError, match="no endpoint's address"):
        require_endpoint(address, None, "dents")


# Which version is served


def test_moved_alias_is_served(endpoint, move, version):
    assert wait(endpoint, version("dents", "1")) < 20
    move("2")
    waited = wait(endpoint, version("dents", "2"))
    assert 0 < waited < 20
    (answer,) = answers_through(endpoint.address, KEY, "dents", "production", [PICTURE])
    assert answer.version == "2"


@pytest.mark.parametrize(
    ("model", "other", "words"),
    [
        pytest.param("dents", {"version": "2"}, ["moved to version 2", "still answers with version 1"], id="version"),
        pytest.param("dents", {"bundle_digest": "0" * 64}, ["another bundle", "another registry"], id="bundle"),
        pytest.param("dents", {"alias": "staging"}, ["404", "stands in production"], id="alias"),
        pytest.param("nobody", {}, ["404", "no version of 'nobody'"], id="model"),
    ],
)
def test_version_that_is_never_served_is_told(endpoint, version, model, other, words):
    info = version("dents", "1")
    asked = {
        "alias": "production",
        "version": "1",
        "bundle_digest": info.tags[BUNDLE_DIGEST_TAG],
        "seconds": 0.3,
    } | other
    with pytest.raises(VersionNotServed) as refused:
        wait_until_served(endpoint.address, KEY, model, **asked)
    for word in words:
        assert word in refused.value.message


# What it answers


def test_answers_are_the_bundles_own_and_in_order(endpoint, registry, version):
    names = [COLOURS[place % 3] for place in range(40)]
    files = [picture(name, side=32 + place) for place, name in enumerate(names)]
    answers = answers_through(endpoint.address, KEY, "colours", "production", iter(files))
    assert [answer.labels for answer in answers] == [(name,) for name in names]
    outcome = compared(registry, version("colours", "1"), files, answers)
    assert outcome.reasons == ()
    assert (outcome.passed, outcome.images, outcome.version) == (True, 40, "1")
    assert outcome.max_confidence_drift < 1e-5
    assert 0 < outcome.latency_ms_p50 <= outcome.latency_ms_p95


def test_detectors_boxes_are_the_bundles_own(endpoint, registry, version):
    files = [PICTURE, picture("red", side=300), picture("blue", side=33)]
    answers = answers_through(endpoint.address, KEY, "dents", "production", files)
    assert [len(answer.boxes) for answer in answers] == [1, 1, 1]
    outcome = compared(registry, version("dents", "1"), files, answers)
    assert outcome.passed, outcome.reasons
    assert outcome.max_box_shift_pixels < 1e-6


def test_other_version_is_found_out(endpoint, registry, version):
    answers = answers_through(endpoint.address, KEY, "dents", "production", [PICTURE])
    outcome = compared(registry, version("dents", "2"), [PICTURE], answers)
    assert not outcome.passed
    assert any("made by version 1" in reason for reason in outcome.reasons)
    assert outcome.max_confidence_drift > 0.1


def test_bad_image_is_a_problem_among_answers(endpoint):
    files = [PICTURE, b"no image", PICTURE]
    answers = answers_through(endpoint.address, KEY, "dents", "production", files)
    assert [bool(answer.problem) for answer in answers] == [False, True, False]
    assert answers[1].problem.startswith("400 ")


def test_busy_endpoint_is_asked_again(endpoint, monkeypatch):
    monkeypatch.setattr(endpoint_module, "RETRY_SECONDS", 0.02)
    before = endpoint.log().count(" 429 ")
    answers = answers_through(endpoint.address, SLOW_KEY, "dents", "production", [PICTURE] * 24)
    assert [answer.problem for answer in answers] == [""] * 24
    assert endpoint.log().count(" 429 ") > before


def test_endpoint_that_stays_busy_is_a_problem(endpoint, monkeypatch):
    monkeypatch.setattr(endpoint_module, "BUSY_SECONDS", 0.0)
    for _ in range(20):
        answers = answers_through(endpoint.address, SLOW_KEY, "dents", "production", [PICTURE] * 32)
        problems = {answer.problem[:4] for answer in answers} - {""}
        if problems:
            break
    assert problems == {"429 "}


def test_no_more_files_are_read_than_are_asked_for(endpoint):
    ahead, answered = [], endpoint.log().count(":predict 200")

    def files():
        for number in range(100):
            ahead.append(number - (endpoint.log().count(":predict 200") - answered))
            yield PICTURE

    assert len(answers_through(endpoint.address, KEY, "dents", "production", files())) == 100
    # An answer is logged a moment after it was sent.
    assert max(ahead) < 4 * endpoint_module.AT_ONCE


def test_alias_moves_under_load_without_a_failed_answer(endpoint, registry, move, version):
    begun, over, waits = threading.Event(), threading.Event(), []

    def files():
        for number in itertools.count():
            if over.is_set():
                return
            if number == 2 * endpoint_module.AT_ONCE:  # one of those before has been answered
                begun.set()
            yield PICTURE

    def move_and_end():
        assert begun.wait(60)
        move("2")
        waits.append(wait(endpoint, version("dents", "2")))
        time.sleep(0.2)
        over.set()

    mover = threading.Thread(target=move_and_end)
    mover.start()
    try:
        answers = answers_through(endpoint.address, KEY, "dents", "production", files())
    finally:
        over.set()
        mover.join()
    assert len(waits) == 1
    assert {answer.problem for answer in answers} == {""}
    assert {answer.version for answer in answers} == {"1", "2"}
    outcome = compared(registry, version("dents", "2"), [PICTURE] * len(answers), answers)
    assert any("a mixed answer" in reason for reason in outcome.reasons)
    assert outcome.version == "1, 2"
