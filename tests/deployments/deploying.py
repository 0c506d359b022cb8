"""prefect.yaml on the session's server: deployed as a user does it, and run by a worker of its own."""

import os
import subprocess
import sys
import time

import yaml

from tests.conftest import ROOT, call_prefect, reap

CONFIG = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
PROCESS_SECONDS = 400


def run_prefect(*arguments, folder, environment):
    """Run the `prefect` command in the project's folder, output to a file; returns exit code and all it said."""
    log = folder / f"{arguments[0]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment, "PWD": str(ROOT), "PREFECT_HOME": str(folder / "prefect")},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        return process.wait(PROCESS_SECONDS), log.read_text()
    finally:
        reap(process)


def deploy(prefect_url, folder, script):
    """Deploy as a user does, with `script` in place of the tests, which would run this file again."""
    copy = folder / "prefect.yaml"
    copy.write_text(yaml.safe_dump(with_test_script(script)), encoding="utf-8")
    return run_prefect(
        "deploy", "--all", "--prefect-file", str(copy), folder=folder, environment={"PREFECT_API_URL": prefect_url}
    )


def with_test_script(script):
    build = [
        {name: {**step, "script": script} if step["id"] == "tests" else step}
        for named in CONFIG["build"]
        for name, step in named.items()
    ]
    return {**CONFIG, "build": build}


def deployments_on(prefect_url):
    return call_prefect(prefect_url, "POST", "/deployments/filter", {})


def runs_of(prefect_url, deployment):
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    return call_prefect(prefect_url, "POST", "/flow_runs/filter", wanted)


def asked_for(prefect_url, deployment, parameters):
    creation = f"/deployments/{deployment['id']}/create_flow_run"
    return call_prefect(prefect_url, "POST", creation, {"parameters": parameters})["id"]


def read_run(prefect_url, run_id):
    return call_prefect(prefect_url, "GET", f"/flow_runs/{run_id}")


def carry_out(site, deployment):
    """Let one worker carry out all runs that wait; returns its exit code and what it and they said."""
    arguments = ("worker", "start", "--pool", deployment["work_pool_name"], "--type", "process", "--run-once")
    return run_prefect(*arguments, folder=site.folder, environment=site.environment)


def wait_until(condition, is_running=lambda: True):
    """Wait for what another process does, as long as it runs."""
    deadline = time.monotonic() + PROCESS_SECONDS
    while not condition():
        assert is_running()
        assert time.monotonic() < deadline
        time.sleep(0.2)
