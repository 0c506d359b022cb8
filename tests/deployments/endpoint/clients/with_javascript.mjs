// A client of Rekognition Custom Labels, as it is written for the managed service; knows nothing of Keeneye.
// The endpoint's address, the key and the region come from the environment. Prints what it saw as one JSON object.
// It finds the SDK where `npm install` put it: in the working directory.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(join(process.cwd(), "package.json"));
const {
  DescribeProjectsCommand,
  DescribeProjectVersionsCommand,
  DetectCustomLabelsCommand,
  InvalidImageFormatException,
  RekognitionClient,
  ResourceNotFoundException,
  ResourceNotReadyException,
  StartProjectVersionCommand,
  StopProjectVersionCommand,
  waitUntilProjectVersionRunning,
} = require("@aws-sdk/client-rekognition");

const [projectName, imagePath] = process.argv.slice(2);
const client = new RekognitionClient({});
const Image = { Bytes: readFileSync(imagePath) };

async function detect(ProjectVersionArn, options = {}) {
  const answer = await client.send(new DetectCustomLabelsCommand({ ProjectVersionArn, Image, ...options }));
  return answer.CustomLabels;
}

async function refusal(type, promise) {
  try {
    await promise;
  } catch (error) {
    if (error instanceof type) return error.name;
    throw error;
  }
  return "none";
}

const projects = await client.send(new DescribeProjectsCommand({ ProjectNames: [projectName] }));
const project = projects.ProjectDescriptions[0].ProjectArn;
const versions = async () =>
  (await client.send(new DescribeProjectVersionsCommand({ ProjectArn: project }))).ProjectVersionDescriptions;
const { ProjectVersionArn: version, Status: status, CreationTimestamp: created } = (await versions())[0];
const number = version.split("/")[3];
const sdk = require("@aws-sdk/client-rekognition/package.json").version;
const saw = { client: sdk, project, version, status, created: created instanceof Date };

saw.before_start = await refusal(ResourceNotReadyException, detect(version));
const start = new StartProjectVersionCommand({ ProjectVersionArn: version, MinInferenceUnits: 1 });
saw.start = (await client.send(start)).Status;
await waitUntilProjectVersionRunning(
  { client, maxWaitTime: 60, minDelay: 1, maxDelay: 2 },
  { ProjectArn: project, VersionNames: [number] },
);

saw.labels = await detect(version);
saw.labels_of_alias = await detect(version.replace(`/version/${number}/`, "/version/production/"));
saw.best = await detect(version, { MinConfidence: 0, MaxResults: 1 });
saw.unknown = await refusal(ResourceNotFoundException, detect(version.replace(`/version/${number}/`, "/version/999/")));
saw.bad_image = await refusal(InvalidImageFormatException, detect(version, { Image: { Bytes: Buffer.from("no image") } }));

saw.stop = (await client.send(new StopProjectVersionCommand({ ProjectVersionArn: version }))).Status;
while ((await versions())[0].Status !== "STOPPED") await sleep(200);
saw.after_stop = await refusal(ResourceNotReadyException, detect(version));
console.log(JSON.stringify(saw));
