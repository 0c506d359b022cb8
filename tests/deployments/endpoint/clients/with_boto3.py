"""A client of Rekognition Custom Labels, as it is written for the managed service; knows nothing of Keeneye.

The endpoint's address, the key and the region come from the environment. Prints what it saw as one JSON object.
"""

import json
import sys
import time
from pathlib import Path

import boto3


def main(project_name, image_path, bucket="", object_key=""):
    client = boto3.client("rekognition")
    image = {"Bytes": Path(image_path).read_bytes()}

    (project,) = client.describe_projects(ProjectNames=[project_name])["ProjectDescriptions"]
    versions = client.describe_project_versions(ProjectArn=project["ProjectArn"])["ProjectVersionDescriptions"]
    arn = versions[0]["ProjectVersionArn"]
    number = arn.split("/")[3]
    saw = {
        "client": boto3.__version__,
        "project": project["ProjectArn"],
        "version": arn,
        "status": versions[0]["Status"],
    }
    saw["paged"] = sum(
        len(page["ProjectDescriptions"])
        for page in client.get_paginator("describe_projects").paginate(PaginationConfig={"PageSize": 1})
    )

    try:
        client.detect_custom_labels(ProjectVersionArn=arn, Image=image)
    except client.exceptions.ResourceNotReadyException as error:
        saw["before_start"] = error.response["Error"]["Code"]

    saw["start"] = client.start_project_version(ProjectVersionArn=arn, MinInferenceUnits=1)["Status"]
    waiter = client.get_waiter("project_version_running")
    waiter.wait(
        ProjectArn=project["ProjectArn"],
        VersionNames=[number],
        WaiterConfig={"Delay": 1, "MaxAttempts": 60},
    )

    saw["labels"] = client.detect_custom_labels(ProjectVersionArn=arn, Image=image)["CustomLabels"]
    alias = arn.replace(f"/version/{number}/", "/version/production/")
    saw["labels_of_alias"] = client.detect_custom_labels(ProjectVersionArn=alias, Image=image)["CustomLabels"]
    if bucket:
        stored = {"S3Object": {"Bucket": bucket, "Name": object_key}}
        saw["labels_of_object"] = client.detect_custom_labels(ProjectVersionArn=arn, Image=stored)["CustomLabels"]
        stored["S3Object"]["Name"] = "absent.png"
        try:
            client.detect_custom_labels(ProjectVersionArn=arn, Image=stored)
        except client.exceptions.InvalidS3ObjectException as error:
            saw["absent_object"] = error.response["Error"]["Message"]
    saw["best"] = client.detect_custom_labels(ProjectVersionArn=arn, Image=image, MinConfidence=0, MaxResults=1)[
        "CustomLabels"
    ]

    try:
        client.detect_custom_labels(ProjectVersionArn=arn.replace(f"/version/{number}/", "/version/999/"), Image=image)
    except client.exceptions.ResourceNotFoundException as error:
        saw["unknown"] = error.response["Error"]["Code"]
    try:
        client.detect_custom_labels(ProjectVersionArn=arn, Image={"Bytes": b"no image"})
    except client.exceptions.InvalidImageFormatException as error:
        saw["bad_image"] = error.response["Error"]["Code"]

    saw["stop"] = client.stop_project_version(ProjectVersionArn=arn)["Status"]
    while (
        client.describe_project_versions(ProjectArn=project["ProjectArn"])["ProjectVersionDescriptions"][0]["Status"]
        != "STOPPED"
    ):
        time.sleep(0.2)
    try:
        client.detect_custom_labels(ProjectVersionArn=arn, Image=image)
    except client.exceptions.ResourceNotReadyException as error:
        saw["after_stop"] = error.response["Error"]["Code"]
    print(json.dumps(saw))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
