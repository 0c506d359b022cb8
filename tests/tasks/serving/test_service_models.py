"""Which models the service has loaded: on demand, when an alias moves, and until they are idle."""

import asyncio
import shutil
import time

import pytest

from tasks.serving import pool as pool_module
from tasks.serving.errors import ModelUnavailable
from tasks.tracking.registry import BUNDLE_DIGEST_TAG
from tests.tasks.serving.made_service import NEW, OLD, add_bundle, ask, until

# An alias moves


def test_alias_moves_under_load(serve, production, registered):
    answers = []

    async def client(service, deadline):
        while time.monotonic() < deadline[0]:
            asked = time.monotonic()
            answers.append((asked, await ask(service)))

    async def scenario(service):
        await ask(service)
        deadline = [time.monotonic() + 30]
        clients = [asyncio.create_task(client(service, deadline)) for _ in range(8)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(production.set_alias, registered.new, "production")
        moved = time.monotonic()
        await until(lambda: answers[-1][1].version == "2")
        deadline[0] = time.monotonic() + 0.3
        await asyncio.gather(*clients)
        return moved, service.stats()

    moved, stats = serve(scenario)
    digests = {"1": registered.old.tags[BUNDLE_DIGEST_TAG], "2": registered.new.tags[BUNDLE_DIGEST_TAG]}
    labels = {"1": OLD, "2": NEW}
    for _, answer in answers:
        assert answer.bundle_digest == digests[answer.version]
        assert answer.labels == labels[answer.version]
        assert set(answer.prediction.confidences) == set(answer.labels)
        assert answer.prediction.top_label == answer.labels[0]
    assert {answer.version for _, answer in answers} == {"1", "2"}
    first_new = min(asked for asked, answer in answers if answer.version == "2")
    assert first_new - moved < 2.0
    assert all(answer.version == "2" for asked, answer in answers if asked > first_new + 0.05)
    assert stats.loads == 2


def test_alias_moves_where_only_one_model_may_be_loaded(serve, production, registered):
    async def scenario(service):
        await ask(service)
        production.set_alias(registered.new, "production")
        versions = []
        await until(lambda: service.stats().models == (("colours", "2"),))
        for _ in range(3):
            versions.append((await ask(service)).version)
        return versions, service.stats()

    versions, stats = serve(scenario, max_models=1, alias_seconds=0.05)
    assert versions == ["2"] * 3
    assert stats.loads == 2


def test_alias_that_moves_to_a_damaged_version_stays(serve, production, registered, tmp_path):
    damaged = add_bundle(registered.old, registered.home, tmp_path / "damaged", NEW, threshold=0.25)
    (tmp_path / "damaged" / "artifacts" / "bundle" / "head.onnx").write_bytes(b"no network")

    async def scenario(service):
        await ask(service)
        production.set_alias(damaged, "production")
        await asyncio.sleep(1.0)
        assert (await ask(service)).version == "1"
        production.set_alias(registered.new, "production")
        await until(lambda: ("colours", "2") in service.stats().models)
        assert (await ask(service)).version == "2"

    serve(scenario, alias_seconds=0.1)


# Loading and unloading


def test_model_is_loaded_once_on_demand(serve, production):
    async def scenario(service):
        assert service.stats().models == ()
        answers = await asyncio.gather(*(ask(service) for _ in range(16)))
        return answers, service.stats()

    answers, stats = serve(scenario)
    assert {answer.version for answer in answers} == {"1"}
    assert (stats.loads, stats.images) == (1, 16)


def test_warm_loads_what_does_not_run_yet(serve, registered):
    async def scenario(service):
        assert (await service.warm("colours", "2")).version == "2"
        return service.stats()

    assert serve(scenario).models == (("colours", "2"),)


def test_damaged_bundle_is_told_and_harms_no_other(serve, production, registered, running, monkeypatch, tmp_path):
    monkeypatch.setattr(pool_module, "RETRY_SECONDS", 0.3)
    other = add_bundle(registered.old, registered.home, tmp_path / "other", NEW, threshold=0.125)
    running("colours", other.version)
    network = tmp_path / "other" / "artifacts" / "bundle" / "head.onnx"
    whole = network.read_bytes()

    async def scenario(service):
        await ask(service)
        network.write_bytes(whole[:-1] + b"!")
        asked = (ask(service, qualifier=other.version) for _ in range(4))
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {ModelUnavailable}
        assert "head.onnx" in errors[0].message
        assert (await ask(service)).version == "1"
        network.write_bytes(whole)
        await asyncio.sleep(0.4)
        assert (await ask(service, qualifier=other.version)).version == other.version

    serve(scenario)


def test_damaged_kept_bundle_is_fetched_anew(serve, production, registered):
    (production.cached_bundle(registered.old) / "head.onnx").write_bytes(b"no network")
    assert serve(ask).version == "1"


def test_version_without_a_bundle_is_told(serve, registered, running):
    running("foreign", "1")
    with pytest.raises(ModelUnavailable, match="holds no Keeneye bundle"):
        serve(lambda service: ask(service, model="foreign", qualifier="1"))


def test_bundle_is_fetched_when_it_is_not_kept(serve, production, registered):
    shutil.rmtree(production.cached_bundle(registered.old))
    assert serve(ask).version == "1"


def test_idle_model_unloads_and_comes_back(serve, production):
    async def scenario(service):
        await ask(service)
        await until(lambda: service.stats().models == ())
        assert service._routes.known(("colours", "production")) is None or service.stats().pending == 0
        assert (await ask(service)).version == "1"
        return service.stats().loads

    assert serve(scenario, idle_seconds=0.2, alias_seconds=0.05) == 2


def test_idle_models_are_unloaded_while_the_states_are_away(serve, production, states, monkeypatch):
    async def scenario(service):
        await ask(service)
        monkeypatch.setattr(states, "get", lambda *_, **__: 1 / 0)
        deadline = time.monotonic() + 10
        while service.stats().models:
            assert time.monotonic() < deadline
            await service.version("colours", "production")  # the name stays in use, the model does not
            await asyncio.sleep(0.05)

    serve(scenario, idle_seconds=0.3, alias_seconds=0.05)
