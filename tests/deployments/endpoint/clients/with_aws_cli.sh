#!/bin/sh
# A client of Rekognition Custom Labels, as it is written for the managed service; knows nothing of Keeneye.
# The endpoint's address, the key and the region come from the environment. Prints what it saw as one JSON object.
# usage: with_aws_cli.sh PROJECT IMAGE, with AWS=the command
set -eu
project_name=$1 image=$2

rekognition() { $AWS rekognition "$@"; }
labels() { rekognition detect-custom-labels "$@" --query CustomLabels --output json; }
# The code of the error that a call must end with.
refusal() { if rekognition "$@" >/dev/null 2>error; then echo none; else sed -n 's/.*(\([A-Za-z0-9]*\)).*/\1/p' error; fi; }
status() {
    rekognition describe-project-versions --project-arn "$project" \
        --query 'ProjectVersionDescriptions[0].Status' --output text
}
wait_for() { while [ "$(status)" != "$1" ]; do sleep 0.2; done; }

project=$(rekognition describe-projects --project-names "$project_name" \
    --query 'ProjectDescriptions[0].ProjectArn' --output text)
version=$(rekognition describe-project-versions --project-arn "$project" \
    --query 'ProjectVersionDescriptions[0].ProjectVersionArn' --output text)
number=$(echo "$version" | cut -d/ -f4)
first_status=$(status)
before_start=$(refusal detect-custom-labels --project-version-arn "$version" --image-bytes "fileb://$image")
start=$(rekognition start-project-version --project-version-arn "$version" --min-inference-units 1 \
    --query Status --output text)
wait_for RUNNING # the command's own waiter looks every 30 seconds
rekognition wait project-version-running --project-arn "$project" --version-names "$number"
found=$(labels --project-version-arn "$version" --image-bytes "fileb://$image")
alias=$(echo "$version" | sed "s|/version/$number/|/version/production/|")
found_by_alias=$(labels --project-version-arn "$alias" --image-bytes "fileb://$image")
best=$(labels --project-version-arn "$version" --image-bytes "fileb://$image" --min-confidence 0 --max-results 1)
unknown=$(refusal detect-custom-labels --image-bytes "fileb://$image" \
    --project-version-arn "$(echo "$version" | sed "s|/version/$number/|/version/999/|")")
echo 'no image' >bad.png
bad_image=$(refusal detect-custom-labels --project-version-arn "$version" --image-bytes fileb://bad.png)
stop=$(rekognition stop-project-version --project-version-arn "$version" --query Status --output text)
wait_for STOPPED
after_stop=$(refusal detect-custom-labels --project-version-arn "$version" --image-bytes "fileb://$image")

cat <<JSON
{"client": "$($AWS --version)", "project": "$project", "version": "$version", "status": "$first_status",
 "before_start": "$before_start", "start": "$start", "labels": $found, "labels_of_alias": $found_by_alias,
 "best": $best, "unknown": "$unknown", "bad_image": "$bad_image", "stop": "$stop", "after_stop": "$after_stop"}
JSON
