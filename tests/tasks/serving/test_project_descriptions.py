"""Which projects and versions are told, page by page, and which are not ours."""

from dataclasses import replace

import pytest

from tasks.errors import EnvironmentFailed
from tasks.serving.arns import Owner
from tasks.serving.errors import UnknownModel, UnknownVersion
from tasks.serving.paging import InvalidPageToken
from tasks.serving.projects import Projects
from tasks.serving.states import Status
from tests.tasks.serving.made_projects import project_arn, version_arn
from tests.tasks.serving.made_registry import add_version, registry_that_is_gone


def everybody(_):
    return True


@pytest.fixture
def lost_registry(monkeypatch, tmp_path):
    return registry_that_is_gone(monkeypatch, tmp_path)


def test_projects_are_the_registered_models_whose_names_fit(projects, runner, made):
    page = runner.run(projects.describe_projects(visible=everybody))
    names = [one.arn.name for one in page.items]
    assert names == sorted(names)
    assert {"bolts", "boxes", "foreign"} <= set(names)
    assert "two words" not in names
    assert "two words" in {model.name for model in made.registry.models()}
    bolts = page.items[names.index("bolts")]
    assert bolts.arn == project_arn(made)
    assert int(bolts.arn.digits) == bolts.created_ms


@pytest.mark.parametrize(
    ("names", "visible", "expected"),
    [
        (("boxes", "bolts"), everybody, ["bolts", "boxes"]),
        (("nobody",), everybody, []),
        (("bolts",), lambda name: name == "boxes", []),
        ((), lambda name: name == "boxes", ["boxes"]),
    ],
    ids=["two", "unknown", "not visible", "only visible"],
)
def test_projects_by_name_and_right(names, visible, expected, projects, runner):
    page = runner.run(projects.describe_projects(names=names, visible=visible))
    assert [one.arn.name for one in page.items] == expected


def test_projects_page_by_page(projects, runner):
    async def all_pages():
        token, names = "", []
        while len(names) < 100:
            page = await projects.describe_projects(visible=everybody, token=token, limit=1)
            names += [one.arn.name for one in page.items]
            token = page.next_token
            if not token:
                return names

    everything = runner.run(projects.describe_projects(visible=everybody))
    assert runner.run(all_pages()) == [one.arn.name for one in everything.items]


def test_versions_are_told_the_newest_first(projects, runner, made):
    page = runner.run(projects.describe_versions(project_arn(made)))
    assert [one.arn.qualifier for one in page.items] == ["3", "2", "1"]
    assert [one.status for one in page.items] == [None] * 3
    assert [one.arn for one in page.items] == [version_arn(info) for info in reversed(made.bolts)]
    assert [one.f1 for one in page.items] == [0.75] * 3  # of one run, which all three are of
    assert page.items[0].info.aliases == ("production",)


def test_versions_and_aliases_by_name(projects, runner, made):
    asked = ("production", "1", "nobody", "7")
    page = runner.run(projects.describe_versions(project_arn(made), qualifiers=asked))
    alias, first = page.items
    assert (alias.arn.qualifier, alias.info.version, alias.status) == ("production", "3", Status.RUNNING)
    assert alias.arn.digits == project_arn(made).digits
    assert first.arn.qualifier == "1"


def test_versions_page_by_page(projects, runner, made):
    arn = project_arn(made)
    first = runner.run(projects.describe_versions(arn, limit=2))
    second = runner.run(projects.describe_versions(arn, limit=2, token=first.next_token))
    assert [[one.arn.qualifier for one in page.items] for page in (first, second)] == [["3", "2"], ["1"]]
    assert second.next_token == ""
    other = project_arn(made, "boxes")
    for wrong in (
        projects.describe_versions(other, token=first.next_token),
        projects.describe_versions(arn, token="x"),
    ):
        with pytest.raises(InvalidPageToken):
            runner.run(wrong)


def test_version_without_a_bundle_is_not_told(projects, runner, made):
    assert runner.run(projects.describe_versions(project_arn(made, "foreign"))).items == []


def test_new_version_is_told_at_once(projects, runner, made):
    first = add_version(made.home, made.bolts[0], "washers")
    assert runner.run(projects.describe_versions(project_arn(made, "washers"))).items[0].arn == version_arn(first)
    second = add_version(made.home, made.bolts[0], "washers")
    page = runner.run(projects.describe_versions(project_arn(made, "washers")))
    assert [one.arn for one in page.items] == [version_arn(second), version_arn(first)]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "nobody"},
        {"digits": "1"},
        {"owner": Owner("eu-west-1", "000000000000")},
        {"owner": Owner("us-east-1", "123456789012")},
        {"owner": Owner("us-east-1", "000000000000", "aws-cn")},
    ],
    ids=["name", "digits", "region", "account", "partition"],
)
def test_project_that_is_not_ours(changed, projects, runner, made):
    with pytest.raises(UnknownModel):
        runner.run(projects.describe_versions(replace(project_arn(made), **changed)))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "nobody"},
        {"qualifier": "99"},
        {"qualifier": "2147483648"},
        {"qualifier": "01"},
        {"qualifier": "nobody"},
        {"digits": "1"},
        {"owner": Owner("eu-west-1", "000000000000")},
    ],
    ids=lambda changed: " ".join(map(str, changed.values())),
)
def test_version_that_is_not_ours(changed, projects, runner, made, states):
    arn = replace(version_arn(made.bolts[0]), **changed)
    for asked in (projects.start(arn), projects.stop(arn)):
        with pytest.raises((UnknownVersion, UnknownModel)):
            runner.run(asked)
    assert states.all(arn.name) == {}


def test_registry_that_is_gone_is_no_unknown_model(states, shelf, runner, made, lost_registry):
    projects = Projects(lost_registry, states, shelf)
    for asked in (
        projects.describe_projects(visible=everybody),
        projects.describe_versions(project_arn(made)),
        projects.start(version_arn(made.bolts[0])),
    ):
        with pytest.raises(EnvironmentFailed):
            runner.run(asked)
    assert states.get("bolts", "1") is None
