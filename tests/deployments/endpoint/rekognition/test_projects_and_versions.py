from tests.deployments.endpoint.rekognition.conftest import PRODUCTION, detection


def test_version_is_started_used_stopped_and_started_again(wire):
    arn = wire.version_arn("bolts", "1")
    asked = {"ProjectVersionArn": arn, "MinInferenceUnits": 1, "MaxInferenceUnits": 3}
    assert wire.versions("1")[0]["Status"] == "TRAINING_COMPLETED"
    assert wire.ask("StartProjectVersion", asked) == {"Status": "STARTING"}
    running = wire.wait_until("RUNNING", "1")
    assert (running["MinInferenceUnits"], running["MaxInferenceUnits"]) == (1, 3)
    assert len(wire.detect(arn)) == 2
    assert wire.error("StartProjectVersion", asked)[0] == "ResourceInUseException"
    assert wire.ask("StopProjectVersion", {"ProjectVersionArn": arn}) == {"Status": "STOPPING"}
    assert wire.error("DetectCustomLabels", detection(arn))[0] == "ResourceNotReadyException"
    wire.wait_until("STOPPED", "1")
    assert wire.error("StopProjectVersion", {"ProjectVersionArn": arn})[0] == "ResourceInUseException"
    assert wire.ask("StartProjectVersion", asked) == {"Status": "STARTING"}
    wire.wait_until("RUNNING", "1")
    assert len(wire.detect(arn)) == 2


def test_alias_runs_until_it_is_stopped(wire):
    assert wire.versions("production")[0]["Status"] == "RUNNING"
    assert wire.ask("StopProjectVersion", {"ProjectVersionArn": PRODUCTION}) == {"Status": "STOPPING"}
    wire.wait_until("STOPPED", "production")
    assert wire.error("DetectCustomLabels", detection(PRODUCTION))[0] == "ResourceNotReadyException"
    wire.ask("StartProjectVersion", {"ProjectVersionArn": PRODUCTION, "MinInferenceUnits": 1})
    wire.wait_until("RUNNING", "production")
    assert wire.detect(PRODUCTION)


def test_units_the_wrong_way_round(wire):
    asked = {"ProjectVersionArn": wire.version_arn("bolts", "1"), "MinInferenceUnits": 3, "MaxInferenceUnits": 2}
    assert wire.error("StartProjectVersion", asked)[0] == "InvalidParameterException"


def test_project_is_described(wire, made):
    described = wire.ask("DescribeProjects", {"ProjectNames": ["bolts"]})
    created = int(wire.project_arn().rpartition("/")[2]) / 1000
    assert described == {
        "ProjectDescriptions": [
            {
                "ProjectArn": wire.project_arn(),
                "CreationTimestamp": created,
                "Status": "CREATED",
                "Datasets": [],
                "Feature": "CUSTOM_LABELS",
            }
        ]
    }
    for features, count in ((["CONTENT_MODERATION"], 0), (["CONTENT_MODERATION", "CUSTOM_LABELS"], 1)):
        asked = {"ProjectNames": ["bolts"], "Features": features}
        assert len(wire.ask("DescribeProjects", asked)["ProjectDescriptions"]) == count


def test_versions_are_described(wire, made):
    third, second, first = wire.versions()
    made_at = made.bolts[0].created_ms / 1000
    assert first == {
        "ProjectVersionArn": wire.version_arn("bolts", "1"),
        "CreationTimestamp": made_at,
        "Status": "TRAINING_COMPLETED",
        "StatusMessage": "The model is ready to run.",
        "TrainingEndTimestamp": made_at,
        "Feature": "CUSTOM_LABELS",
        "EvaluationResult": {"F1Score": 0.75},
    }
    assert second["Status"] == "TRAINING_COMPLETED"
    assert "rejected: recall of bent 0.2 is below 0.6" in second["StatusMessage"]
    assert third["VersionDescription"] == "Aliases: production"
    (boxes,) = wire.versions(project="boxes")
    assert "EvaluationResult" not in boxes
    assert boxes["VersionDescription"] == "Aliases: production, staging"


def test_aliases_are_described_when_asked_for(wire):
    staging, production = sorted(
        wire.versions("staging", "production", "nobody", project="boxes"),
        key=lambda one: one["ProjectVersionArn"],
        reverse=True,
    )
    digits = wire.project_arn("boxes").rpartition("/")[2]
    assert production["ProjectVersionArn"] == wire.project_arn("boxes").replace(digits, f"version/production/{digits}")
    assert production["StatusMessage"] == "The model is running: version 1, to which the alias points."
    assert (production["Status"], production["VersionDescription"]) == ("RUNNING", "Alias of version 1")
    assert staging["ProjectVersionArn"].count("/staging/") == 1


def test_pages_follow_each_other(wire):
    asked = {"ProjectArn": wire.project_arn(), "MaxResults": 2}
    first = wire.ask("DescribeProjectVersions", asked)
    second = wire.ask("DescribeProjectVersions", asked | {"NextToken": first["NextToken"]})
    pages = [[one["ProjectVersionArn"] for one in page["ProjectVersionDescriptions"]] for page in (first, second)]
    assert pages == [[wire.version_arn("bolts", number) for number in numbers] for numbers in ("32", "1")]
    assert "NextToken" not in second
    for operation, document in [
        ("DescribeProjectVersions", {"ProjectArn": wire.project_arn("boxes"), "NextToken": first["NextToken"]}),
        ("DescribeProjects", {"NextToken": first["NextToken"]}),
        ("DescribeProjects", {"NextToken": "nonsense"}),
    ]:
        code, message = wire.error(operation, document)
        assert (code, message) == ("InvalidPaginationTokenException", "Invalid Pagination Token")


def test_empty_token_is_the_first_page(wire):
    assert wire.ask("DescribeProjects", {"NextToken": ""}) == wire.ask("DescribeProjects", {})
