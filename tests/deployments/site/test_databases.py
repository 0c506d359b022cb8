"""A real cluster of PostgreSQL: whole, or not there."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.site.databases import make_cluster
from deployments.site.programs import postgresql_program, postgresql_user, privileges
from tasks.errors import EnvironmentFailed

pytestmark = pytest.mark.site

ROOT = Path(__file__).resolve().parents[3]
MAKE = """
import sys
from pathlib import Path
from deployments.site.databases import make_cluster
from deployments.site.programs import postgresql_user
make_cluster(Path(sys.argv[1]), "secret", postgresql_user(""), for_others=False)
"""


def takes_queries(cluster):
    user = postgresql_user("")
    asked = subprocess.run(
        [postgresql_program("postgres"), "--single", "-D", str(cluster), "postgres"],
        input="select 6 * 7 as answer\n",
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **privileges(user.pw_uid if user else None),
    )
    return asked.returncode == 0 and '"42"' in asked.stdout


def test_cluster_is_made_after_its_making_was_killed(folder):
    cluster = folder / "killed" / "postgresql"
    cluster.mkdir(parents=True)
    cluster.parent.chmod(0o711)
    making = subprocess.Popen([sys.executable, "-c", MAKE, str(cluster)], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(cluster.parent.glob("*/PG_VERSION")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(making.pid, signal.SIGKILL)
    making.wait()
    make_cluster(cluster, "secret", postgresql_user(""), for_others=False)
    assert takes_queries(cluster)
    assert [path.name for path in cluster.parent.iterdir()] == ["postgresql"]
    before = (cluster / "PG_VERSION").stat()
    make_cluster(cluster, "secret", postgresql_user(""), for_others=False)
    assert (cluster / "PG_VERSION").stat() == before


def test_files_of_others_are_not_replaced(folder):
    cluster = folder / "others" / "postgresql"
    cluster.mkdir(parents=True)
    cluster.parent.chmod(0o711)
    (cluster / "notes.txt").write_text("mine")
    with pytest.raises(EnvironmentFailed, match=r"holds no whole cluster.* move it away, and start again"):
        make_cluster(cluster, "secret", postgresql_user(""), for_others=False)
    assert (cluster / "notes.txt").read_text() == "mine"
