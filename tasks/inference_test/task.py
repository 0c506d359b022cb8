"""The inference test, as Prefect runs it: the version is fetched and opened afresh, and must answer as measured."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tasks
from flows.config import GateConfig
from flows.environment_config import EnvironmentConfig
from tasks import engine
from tasks.bundle_export.records import ExportSource, FoundVersion
from tasks.errors import DataError, EnvironmentFailed, last_line
from tasks.evaluate.records import Evaluation
from tasks.inference_test.probe import EvaluatedImages, ProbeRequest, probe
from tasks.inference_test.records import InferenceOutcome, InferenceTest
from tasks.manifest.records import Manifest
from tasks.register.records import RegisteredVersion
from tasks.stores.home import Home

TIMEOUT_SECONDS = 1800
MAX_IMAGES_BEFORE_A_MOVE = 64
"""They show that the bundle is there and answers as it did; how good it is was measured before."""


@engine.stage("test inference")
def run_inference_test(
    home: Home, manifest: Manifest, evaluation: Evaluation, version: RegisteredVersion, gate: GateConfig
) -> InferenceTest:
    """Run the registered version in a separate process on the test images, and compare with the evaluation."""
    request = ProbeRequest(
        home=home.root,
        tracking_uri=home.tracking_uri,
        registry_uri=home.registry_uri,
        model_uri=version.model_uri,
        expected_digest=version.bundle_digest,
        evaluated=_evaluated(manifest, evaluation.predictions_path),
        max_confidence_drift=gate.max_confidence_drift,
        max_latency_ms=gate.max_latency_ms,
    )
    return _told(run_probe(request))


@engine.stage("test version")
def check_version(home: Home, version: ExportSource, environment: EnvironmentConfig) -> InferenceTest:
    """Fetch a registered version by its address and let it answer test images, before it is moved anywhere.

    Raises:
        DataError: when the answers that it was evaluated by are not on this machine.
        EnvironmentFailed: when the registry does not answer.
        SourceChanged: when a test image is gone or changed.
    """
    if not version.predictions_path:
        raise DataError(
            f"{version.model_uri} cannot be tested here: {home.store.root} holds no evaluation of it that this Keeneye "
            "can read; use the KEENEYE_HOME that trained it, or train again here"
        )
    return _told(probe(_request_before_a_move(home, version, environment)))


@engine.stage("test version again")
def check_version_again(home: Home, version: FoundVersion, environment: EnvironmentConfig) -> InferenceTest:
    """Fetch a version that was in use before, and let it answer what test images there are.

    Its bundle must be the one that was registered, open and answer as it did; a machine that is slow just now, and
    images or an evaluation that are gone, are warnings: what cannot be shown today was shown before it stood there.

    Raises:
        EnvironmentFailed: when the registry does not answer.
    """
    request = _request_before_a_move(home, version, environment)
    return _told(probe(request.model_copy(update={"is_rollback": True})))


def _request_before_a_move(home: Home, version: FoundVersion, environment: EnvironmentConfig) -> ProbeRequest:
    # Probed in this process, which trained nothing: one of its own would take half the seconds that a rollback has.
    manifest, predictions = version.manifest, version.predictions_path
    return ProbeRequest(
        home=home.root,
        tracking_uri=home.tracking_uri,
        registry_uri=home.registry_uri,
        model_uri=version.model_uri,
        expected_digest=version.bundle_digest,
        evaluated=_evaluated(manifest, Path(predictions)) if manifest and predictions else None,
        max_confidence_drift=environment.policy.max_confidence_drift,
        max_latency_ms=environment.policy.max_latency_ms,
        limits_of="policy",
        max_images=MAX_IMAGES_BEFORE_A_MOVE,
    )


def _evaluated(manifest: Manifest, predictions: Path) -> EvaluatedImages:
    return EvaluatedImages(
        manifest=manifest.manifest_path("test"), root=Path(manifest.roots["test"]), predictions=predictions
    )


def _told(outcome: InferenceOutcome) -> InferenceTest:
    engine.logger().info(
        "inference test %s: %d images, accuracy %.3f, %.1f ms per image (95th percentile %.1f ms)",
        "passed" if outcome.passed else "failed",
        outcome.images,
        outcome.accuracy,
        outcome.latency_ms_p50,
        outcome.latency_ms_p95,
    )
    for warning in outcome.warnings:
        engine.logger().warning("%s", warning)
    return InferenceTest(outcome=outcome)


def run_probe(request: ProbeRequest) -> InferenceOutcome:
    """Run the probe in its own process; a process that dies or hangs is a failed test.

    Raises:
        EnvironmentFailed: when the probe could not reach the registry.
    """
    with tempfile.TemporaryDirectory(prefix="keeneye-inference-") as scratch:
        asked, answered = Path(scratch) / "request.json", Path(scratch) / "outcome.json"
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        # This Keeneye, whatever the working folder holds: -P keeps that folder off the path.
        command = [sys.executable, "-P", "-m", "tasks.inference_test.probe", str(asked), str(answered)]
        package_root = str(Path(tasks.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), package_root)))
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            return InferenceOutcome(passed=False, reasons=(f"inference test: no answer in {TIMEOUT_SECONDS} s",))
        if ended.returncode == EnvironmentFailed.exit_code:
            raise EnvironmentFailed(last_line(ended.stderr))
        if not answered.exists():
            reason = f"inference test: its process ended with code {ended.returncode}: {last_line(ended.stderr)}"
            return InferenceOutcome(passed=False, reasons=(reason,))
        return InferenceOutcome.model_validate_json(answered.read_text(encoding="utf-8"))
