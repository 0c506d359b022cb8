import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployments.site.secrets import FILE_NAME, made_secrets, site_secrets
from tasks.errors import RequestError
from tasks.stores.role_keys import STORE_SECRET


def test_made_once_and_only_their_owner_reads_them(tmp_path):
    first = site_secrets(tmp_path / "site", {})
    assert site_secrets(tmp_path / "site", {}) == first
    assert stat.S_IMODE((tmp_path / "site" / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "site").iterdir()] == [FILE_NAME]
    generated = [value for name, value in first.items() if name != "AWS_ACCESS_KEY_ID" and value != "keeneye"]
    assert len(set(generated)) == len(generated)
    assert all(len(value) >= 48 for value in generated)


def test_those_who_start_at_once_agree(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: site_secrets(tmp_path, {}), range(8)))
    assert all(one == found[0] for one in found)


def test_environment_goes_before_the_file_and_is_not_kept(tmp_path):
    given = site_secrets(tmp_path, {"KEENEYE_SITE_AWS_SECRET_ACCESS_KEY": "from-elsewhere", "PATH": "/bin"})
    kept = site_secrets(tmp_path, {})
    assert given == {**kept, STORE_SECRET: "from-elsewhere"}
    assert "from-elsewhere" not in (tmp_path / FILE_NAME).read_text()


def test_everyday_keys_of_the_shell_are_not_the_sites(tmp_path):
    everyday = dict.fromkeys(made_secrets(), "everyday")
    assert "everyday" not in site_secrets(tmp_path, everyday).values()


@pytest.mark.parametrize(
    ("mode", "without", "words"),
    [(0o640, "", "is open to other users; run `chmod 600"), (0o600, STORE_SECRET, f"has no {STORE_SECRET}")],
    ids=["open", "incomplete"],
)
def test_file_that_cannot_be_trusted(tmp_path, mode, without, words):
    path = tmp_path / FILE_NAME
    path.write_text("".join(f"{name}={value}\n" for name, value in made_secrets().items() if name != without))
    path.chmod(mode)
    with pytest.raises(RequestError, match=words):
        site_secrets(tmp_path, {})
