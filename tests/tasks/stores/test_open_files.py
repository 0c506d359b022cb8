import subprocess
import sys

PROGRAM = """
import resource, tempfile
import numpy as np
from tasks.stores.open_files import allow_many_files

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
allow_many_files()
with tempfile.NamedTemporaryFile() as file:
    np.save(file, np.zeros(4))
    file.flush()
    mapped = [np.load(file.name, mmap_mode="r") for _ in range(200)]
    print(len(mapped))
"""


def test_more_files_are_mapped_than_a_shell_allows():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ended.stdout == "200\n", ended.stderr
