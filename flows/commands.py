"""The commands that `keeneye` knows: what each asks for, what it runs, and what its help teaches.

Requests and flows are named, not imported, so that `keeneye --help` needs neither.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the command line knows it; `config` and `entrypoint` are imported only when they are needed.

    Attributes:
        config: MODULE:NAME of the request's model.
        entrypoint: MODULE:NAME of what runs: a flow, or a function of the whole request.
        sources: the fields that name what must be there before anything is started.
        purpose: one sentence.
        examples: what `--help` ends with.
        positional: the field that the first word stands for, if it is no option.
        is_flow: whether Prefect runs it, with the request's groups as parameters.
        is_table: whether people get the result's `table()`, unless the request wants JSON.
    """

    config: str
    entrypoint: str
    sources: tuple[str, ...]
    purpose: str
    examples: str
    positional: str = ""
    is_flow: bool = True
    is_table: bool = False

    @property
    def model(self) -> type[BaseModel]:
        """The request's model."""
        model: type[BaseModel] = imported(self.config)
        return model


COMMANDS = {
    "train": Command(
        "flows.config:TrainConfig",
        "flows.train:train",
        ("data.source", "data.test_source"),
        "Turn a folder of labelled images into a registered model version, staged when it is good enough.",
        """examples:
  keeneye train                                         the built-in demo set, end to end
  keeneye train --data.source photos                    photos/LABEL/*.jpg, or the MVTec layout
  keeneye train --data.source photos --gate.min_label_recall 0.8
  keeneye train --task detection --data.source photos   boxes or masks: a detector, here with masks in the MVTec layout
  keeneye train --config line7.yaml --training.seed 1   a YAML file; the command line wins

exit codes:
  0 staged or registered   1 the data or the gate said no   2 the request was wrong   3 try again later""",
    ),
    "compare": Command(
        "flows.compare_config:CompareConfig",
        "flows.compare:compare",
        ("data.source", "data.test_source"),
        "Measure many classifiers on the same folds in a given time, and say which to prefer.",
        """examples:
  keeneye compare --data.source photos --budget 10m
  keeneye compare --candidates plain,svm:stages,logistic:embedding+stages,finetune --folds 3
  keeneye compare --data.source photos --ship           trains the recommended one through its gate

A comparison that was stopped goes on with the folds it has. Beside its page lies winner.yaml: `keeneye train --config`.

exit codes:
  0 compared   1 the data, or a shipped model's gate, said no   2 the request was wrong   3 try again later""",
        is_table=True,
    ),
    "ground-truth": Command(
        "flows.config:GroundTruthConfig",
        "flows.ground_truth:ground_truth",
        ("data.source", "data.test_source"),
        "Turn any labelled source into manifests of train, validation and test images; masks become boxes.",
        """examples:
  keeneye ground-truth                                             the built-in demo set: masks to boxes
  keeneye ground-truth --data.source photos --output truth         photos/LABEL/*.jpg, or the MVTec layout
  keeneye ground-truth --data.source coco.json --data.image_root photos --format yolo --output yolo
  keeneye ground-truth --data.source old.manifest --data.rewrite '["s3://bucket/photos/="]' --data.rules aws

exit codes:
  0 written   1 the data, or the rules asked for, said no   2 the request was wrong   3 try again later""",
    ),
    "predict": Command(
        "flows.predict_config:PredictConfig",
        "flows.predict:predict",
        ("source",),
        "Run a registered model over a folder, an archive or a manifest of images; resumes where it was stopped.",
        """examples:
  keeneye predict --model models:/bolts@staging --source photos --output answers
  keeneye predict --model models:/bolts/3 --source photos.zip

exit codes:
  0 written   1 the data or the model said no   2 the request was wrong   3 try again later""",
    ),
    "export": Command(
        "flows.export_config:ExportConfig",
        "flows.export:export",
        (),
        "Write a registered model in another format, measured and gated anew on its test images.",
        """examples:
  keeneye export bolts@production --format onnx-int8
  keeneye export bolts/3 --format openvino --output edge

exit codes:
  0 written   1 the loss exceeds the limit, with the numbers   2 the request was wrong   3 try again later""",
        positional="model",
    ),
    "promote": Command(
        "flows.promote_config:PromoteConfig",
        "flows.promote:promote",
        (),
        "Put a version that passed its tests into staging or production, tested there.",
        """examples:
  keeneye promote bolts --to production --approved-by Ann --reason "finds the new defect"
  keeneye promote bolts --to staging --version 4

exit codes:
  0 moved   1 comparison, approval or test said no; nothing is moved   2 the request was wrong   3 try again later""",
        positional="model",
    ),
    "rollback": Command(
        "flows.promote_config:RollbackConfig",
        "flows.rollback:rollback",
        (),
        "Return an environment to a version that stood there before, tested again.",
        """examples:
  keeneye rollback bolts --approved-by Ann --reason "false alarms since noon"
  keeneye rollback bolts --environment staging --steps 2

exit codes:
  0 moved   1 version gone, or its test said no; nothing is moved   2 the request was wrong   3 try again later""",
        positional="model",
    ),
    "status": Command(
        "flows.promote_config:StatusConfig",
        "flows.status:status",
        (),
        "Tell what stands in staging and production, since when, by whom, and what stood there before.",
        """examples:
  keeneye status
  keeneye status bolts --json

exit codes:
  0 told   2 the request was wrong   3 registry or ledger do not answer; try again later""",
        positional="model",
        is_flow=False,
        is_table=True,
    ),
    "serve": Command(
        "flows.serve_config:ServeConfig",
        "deployments.endpoint.server:serve",
        (),
        "Answer clients: the calls of Rekognition Custom Labels, a plain HTTP API, and a page.",
        """examples:
  keeneye serve --no-auth                               this machine only, without keys; see http://127.0.0.1:8080
  keeneye serve --host 0.0.0.0 --keys keys.yaml         clients' keys: access_key_id, secret_access_key, projects
  keeneye serve --environment production --keys keys.yaml  what stands there; see deployments/production.yaml
  keeneye serve --keys keys.yaml --database postgresql+psycopg://user@host/keeneye

SIGTERM and Ctrl-C finish what is being answered.

exit codes:
  0 stopped   2 the request was wrong   3 port, registry or database do not answer; try again later""",
        is_flow=False,
    ),
    "up": Command(
        "flows.up_config:UpConfig",
        "deployments.site.up:up",
        (),
        "Start the servers of a site on this machine: PostgreSQL, object store, Prefect, MLflow, worker, endpoint.",
        """examples:
  keeneye up                                            all of them; needs `uv sync --extra site`
  keeneye up --only postgresql,object-store,mlflow      some of them
  keeneye up --ports.prefect 4300 --data /srv/keeneye

Listens on this machine only, unless --listen says otherwise. Secrets are made once, in a file of the data folder that
only you can read; KEENEYE_SITE_ and a secret's name in the environment goes before it. SIGTERM, Ctrl-C and the end of
the terminal end everything in order.

exit codes:
  0 stopped   2 the request was wrong, or a program is missing   3 a port is taken, or a service does not start""",
        is_flow=False,
    ),
    "provision": Command(
        "flows.provision_config:ProvisionConfig",
        "flows.provision:provision",
        (),
        "Make a site ready, once: bucket, experiments, models, users, work pool, limits, secret block, deployments.",
        """examples:
  . .keeneye/site/environment                           the addresses and secrets of `keeneye up`
  keeneye provision --plan                              only says what would be done
  keeneye provision --models transistors-classification --datasets transistors --trainings 2

exit codes:
  0 done, or planned   2 the request was wrong, or a server refuses   3 a server does not answer; try again later""",
        is_flow=False,
    ),
    "watch": Command(
        "flows.watch_config:WatchConfig",
        "flows.watch:watch",
        ("folder",),
        "Start a deployment when images arrive in a folder.",
        """examples:
  keeneye watch inbox                                        predict/predictions for the images that are new
  keeneye watch photos --deployment train/classification --min_images 20

Needs a Prefect server, named in PREFECT_API_URL, with the deployments of prefect.yaml. SIGTERM and Ctrl-C stop it; what
was handled is not handled again.

exit codes:
  0 stopped   2 the request was wrong   3 the Prefect server does not answer; try again later""",
        positional="folder",
        is_flow=False,
    ),
    "notify": Command(
        "flows.watch_config:NotifyConfig",
        "flows.notify:notify",
        (),
        "Tell a webhook when a deployed run fails, crashes or is rejected.",
        """examples:
  read -rs KEENEYE_NOTIFY_URL && export KEENEYE_NOTIFY_URL   the webhook's address, typed so that no history keeps it
  keeneye notify                                             keeps it in a secret block of the Prefect server
  keeneye notify --remove

exit codes:
  0 done   2 the request was wrong   3 the Prefect server does not answer; try again later""",
        is_flow=False,
    ),
}


def imported(address: str) -> Any:  # noqa: ANN401 - whatever the address names
    """Return what MODULE:NAME names, importing its module."""
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)
