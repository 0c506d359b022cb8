import base64
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.endpoint.keys import AccessRefused, Key, Keys, verify_basic
from tasks.errors import RequestError

SECRET, OTHER_SECRET = "first-secret-0123456789", "second-secret-987654321"
ENVIRONMENT = {"KEENEYE_ACCESS_KEY_ID": "from-environment", "KEENEYE_SECRET_ACCESS_KEY": SECRET}


def item(access_key_id="client-one", secret=SECRET, projects=("*",)):
    return {"access_key_id": access_key_id, "secret_access_key": secret, "projects": list(projects)}


def write(path, content, mode=0o600):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    path.chmod(mode)
    return path


def basic(access_key_id, secret):
    return f"Basic {base64.b64encode(f'{access_key_id}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([item(projects=["bolts", "nuts"]), item("client-two", OTHER_SECRET)], id="JSON"),
        pytest.param(
            f"""\
# line seven
- access_key_id: client-one
  secret_access_key: {SECRET}
  projects: [bolts, nuts]
- access_key_id: client-two
  secret_access_key: {OTHER_SECRET}
  projects: ["*"]
""",
            id="YAML",
        ),
    ],
)
def test_file_of_keys(tmp_path, content):
    keys = Keys.read(write(tmp_path / "keys", content), {})
    assert len(keys) == 2
    assert keys.find("client-one") == Key("client-one", SECRET, ("bolts", "nuts"))
    assert keys.find("client-two") == Key("client-two", OTHER_SECRET, "*")
    assert keys.find("client-three") is None


@pytest.mark.parametrize(
    ("projects", "name", "allowed"),
    [
        ("*", "bolts", True),
        (("bolts", "nuts"), "bolts", True),
        (("bolts", "nuts"), "bolt", False),
        (("bolts",), "nuts", False),
        ((), "bolts", False),
    ],
)
def test_key_may_use_its_projects(projects, name, allowed):
    assert Key("client-one", SECRET, projects).may_use(name) is allowed


@pytest.mark.parametrize(
    ("environment", "projects"),
    [
        pytest.param({}, "*", id="all projects"),
        pytest.param({"KEENEYE_KEY_PROJECTS": "bolts, nuts,"}, ("bolts", "nuts"), id="some projects"),
        pytest.param({"KEENEYE_KEY_PROJECTS": "bolts,*"}, "*", id="all among some"),
    ],
)
def test_key_of_the_environment(environment, projects):
    keys = Keys.read(None, {**ENVIRONMENT, **environment})
    assert keys.find("from-environment") == Key("from-environment", SECRET, projects)
    assert len(keys) == 1


def test_file_named_by_the_environment_adds_to_its_key(tmp_path):
    path = write(tmp_path / "keys.yaml", [item()])
    keys = Keys.read(None, {**ENVIRONMENT, "KEENEYE_KEYS_FILE": str(path)})
    assert len(keys) == 2
    assert keys.find("client-one")
    assert keys.find("from-environment")


def test_given_file_wins_over_the_named_one(tmp_path):
    given, named = write(tmp_path / "given", [item("given")]), write(tmp_path / "named", [item("named")])
    keys = Keys.read(given, {"KEENEYE_KEYS_FILE": str(named)})
    assert keys.find("given")
    assert not keys.find("named")


def test_key_may_have_a_share(tmp_path):
    keys = Keys.read(write(tmp_path / "keys", [item() | {"max_pending": 3}, item("client-two", OTHER_SECRET)]), {})
    assert keys.find("client-one") == Key("client-one", SECRET, "*", max_pending=3)
    assert keys.find("client-two").max_pending is None


def test_no_key_at_all():
    assert len(Keys.read(None, {})) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "holds no list of keys", id="empty"),
        pytest.param([], "holds no list of keys", id="empty list"),
        pytest.param({"keys": [item()]}, "holds no list of keys", id="mapping"),
        pytest.param([SECRET], "key 1 of", id="no mapping"),
        pytest.param([item(), {**item("two"), "region": "x"}], "key 2 of .* and nothing else", id="unknown field"),
        pytest.param([{"access_key_id": "client-one", "secret_access_key": SECRET}], "projects", id="no projects"),
        pytest.param([item(projects=[])], "no list of names", id="empty projects"),
        pytest.param([{**item(), "projects": "bolts"}], "no list of names", id="projects as text"),
        pytest.param([item(projects=[7])], "no list of names", id="project that is a number"),
        pytest.param([item(12345678)], "quote it", id="id that is a number"),
        pytest.param([item("client:one")], "access_key_id", id="id with a colon"),
        pytest.param([item("a/b/c")], "access_key_id", id="id with slashes"),
        pytest.param([item(secret=SECRET[:15])], "16 to 256", id="short secret"),
        pytest.param([item(secret=SECRET + " ")], "without spaces", id="secret with a space"),
        pytest.param([item(secret=12345678901234567890)], "16 to 256", id="secret that is a number"),
        pytest.param([item(), item(secret=OTHER_SECRET)], "repeats the access key client-one", id="id twice"),
        pytest.param(f"- access_key_id: x\n  secret_access_key: '{SECRET}\n", "from line", id="quote not closed"),
        pytest.param(f"- [{SECRET}", "neither YAML nor JSON", id="bracket not closed"),
        pytest.param("- !!python/object/apply:os.getcwd []", "neither YAML nor JSON", id="code"),
        pytest.param("[" * 5000, "neither YAML nor JSON", id="deep"),
        pytest.param("# much\n" * 15_000, "more than 100000 bytes", id="huge"),
        *(
            pytest.param([item() | {"max_pending": share}], "max_pending of key 1", id=f"max_pending {share!r}")
            for share in (0, -1, True, "8", 1.5, None)
        ),
    ],
)
def test_malformed_file_is_refused_without_quoting_it(tmp_path, content, words):
    with pytest.raises(RequestError, match=words) as refused:
        Keys.read(write(tmp_path / "keys.yaml", content), {})
    assert SECRET[:15] not in str(refused.value)
    assert len(refused.value.message) < 400


def test_file_that_is_no_text(tmp_path):
    path = write(tmp_path / "keys", "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="no UTF-8 text"):
        Keys.read(path, {})


def test_absent_file(tmp_path):
    with pytest.raises(RequestError, match=r"absent\.yaml cannot be read: No such file"):
        Keys.read(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_file_open_to_others_is_refused(tmp_path, mode):
    path = write(tmp_path / "keys.yaml", [item()], mode)
    with pytest.raises(RequestError, match=f"open to other users; run `chmod 600 {path}`"):
        Keys.read(path, {})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"KEENEYE_ACCESS_KEY_ID": "client-one"}, "come together"),
        ({"KEENEYE_SECRET_ACCESS_KEY": SECRET}, "come together"),
        ({**ENVIRONMENT, "KEENEYE_SECRET_ACCESS_KEY": "short"}, "16 to 256"),
        ({**ENVIRONMENT, "KEENEYE_KEY_PROJECTS": " , "}, "names no project"),
    ],
)
def test_malformed_environment(environment, words):
    with pytest.raises(RequestError, match=words) as refused:
        Keys.read(None, environment)
    assert SECRET not in str(refused.value)


def test_one_id_in_file_and_environment(tmp_path):
    path = write(tmp_path / "keys.yaml", [item("from-environment", OTHER_SECRET)])
    with pytest.raises(RequestError, match="from-environment is in the environment and in"):
        Keys.read(path, ENVIRONMENT)


def replaced(path, content, mode=0o600):
    """Replace a file as editors and secret mounts do: another file takes its name."""
    fresh = write(path.with_suffix(".new"), content, mode)
    fresh.replace(path)


def test_keys_rotate_without_a_restart(tmp_path):
    path = write(tmp_path / "keys.yaml", [item("old")])
    keys = Keys.read(path, ENVIRONMENT)
    replaced(path, [item("old", OTHER_SECRET), item("new")])
    assert keys.find("new") == Key("new", SECRET, "*")
    assert keys.find("old") == Key("old", OTHER_SECRET, "*")
    replaced(path, [item("new")])
    assert keys.find("old") is None
    assert keys.find("from-environment")
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        pytest.param(f"- access_key_id: [{SECRET}", 0o600, "neither YAML nor JSON", id="malformed"),
        pytest.param([item("new")], 0o644, "open to other users", id="open to others"),
        pytest.param([item("from-environment")], 0o600, "in the environment", id="id of the environment"),
    ],
)
def test_file_that_became_bad_is_reported_once_and_changes_nothing(tmp_path, caplog, content, mode, words):
    path = write(tmp_path / "keys.yaml", [item("old")])
    keys = Keys.read(path, ENVIRONMENT)
    replaced(path, content, mode)
    assert [keys.find("old") is not None for _ in range(3)] == [True] * 3
    assert keys.find("new") is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert words in caplog.text
    assert SECRET not in caplog.text
    replaced(path, [item("mended")])
    assert keys.find("mended")
    assert not keys.find("old")


def test_file_that_vanished_and_came_back(tmp_path, caplog):
    path = write(tmp_path / "keys.yaml", [item("old")])
    keys = Keys.read(path, {})
    path.unlink()
    assert keys.find("old")
    assert keys.find("old")
    assert caplog.text.count("No such file") == 1
    write(path, [item("new")])
    assert keys.find("new")
    assert not keys.find("old")


def test_repr_hides_secrets(tmp_path):
    keys = Keys.read(
        write(tmp_path / "keys.yaml", [item()]), {**ENVIRONMENT, "KEENEYE_SECRET_ACCESS_KEY": OTHER_SECRET}
    )
    told = f"{keys} {keys.find('client-one')} {keys.find('from-environment')!r}"
    assert "client-one" in told
    assert SECRET not in told
    assert OTHER_SECRET not in told


KEYS = Keys({"client-one": Key("client-one", SECRET, ("bolts",)), "client-two": Key("client-two", OTHER_SECRET)})


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_basic_shows_a_key(scheme):
    assert verify_basic(basic("client-one", SECRET).replace("Basic", scheme), KEYS) is KEYS.find("client-one")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        pytest.param(None, "authentication is needed", id="none"),
        pytest.param("", "authentication is needed", id="empty"),
        pytest.param("Bearer abc", "authentication is needed", id="another scheme"),
        pytest.param("Basic", "key or its secret is wrong", id="nothing after the scheme"),
        pytest.param("Basic !!!!", "no HTTP Basic", id="no base64"),
        pytest.param("Basic ä", "no HTTP Basic", id="no ASCII"),
        pytest.param("Basic /w==", "no HTTP Basic", id="no UTF-8"),
        pytest.param(basic("client-one", ""), "key or its secret is wrong", id="no secret"),
        pytest.param(basic("client-one", OTHER_SECRET), "key or its secret is wrong", id="another's secret"),
        pytest.param(basic("nobody", SECRET), "key or its secret is wrong", id="unknown id"),
        pytest.param(basic("nobody", ""), "key or its secret is wrong", id="unknown id without a secret"),
    ],
)
def test_basic_refusals(header, words):
    with pytest.raises(AccessRefused, match=words) as refused:
        verify_basic(header, KEYS)
    assert SECRET not in refused.value.message


@given(position=st.integers(0, len(SECRET) - 1), character=st.characters(codec="utf-8"))
@settings(max_examples=50, deadline=None)
def test_any_changed_character_of_the_secret_is_refused(position, character):
    changed = SECRET[:position] + character + SECRET[position + 1 :]
    if changed != SECRET:
        with pytest.raises(AccessRefused):
            verify_basic(basic("client-one", changed), KEYS)
