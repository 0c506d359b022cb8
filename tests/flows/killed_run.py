"""Run the command line, and die of SIGKILL at a chosen moment: `killed_run.py MOMENT train ...`. No test itself."""

import os
import signal
import sys

from flows.__main__ import main


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_middle_of_a_shard():
    """The second shard's features are written, its marker is not."""
    import tasks.stores.content as content

    write_marker, calls = content._write_marker, []

    def counted(folder):
        if folder.name.startswith("embedding"):
            calls.append(folder)
            if len(calls) == 2:
                die()
        write_marker(folder)

    content._write_marker = counted


def in_the_third_epoch():
    """Two epochs are done, the third has begun."""
    import tasks.train.network_task as shell

    tell = shell._Epochs.__call__

    def told(epochs, row):
        tell(epochs, row)
        if row["epoch"] == 2:
            from tasks.train.detector import fit

            fit.losses_of = die

    shell._Epochs.__call__ = told


def before_publishing_the_model():
    """The train stage's folder is complete, and not yet in its place."""
    from tasks.stores.content import ContentStore

    publish = ContentStore._publish

    def unless_train(store, folder, target):
        if folder.name.startswith("train"):
            die()
        publish(store, folder, target)

    ContentStore._publish = unless_train


def in_the_third_fold():
    """Two folds of a comparison are kept, the third is measured and not yet in its place."""
    from tasks.stores.content import ContentStore

    publish, folds = ContentStore._publish, []

    def twice(store, folder, target):
        if folder.name.startswith("fold"):
            folds.append(folder)
            if len(folds) == 3:
                die()
        publish(store, folder, target)

    ContentStore._publish = twice


def after_logging_the_model():
    """The model is logged in MLflow, no version exists."""
    from mlflow import MlflowClient

    MlflowClient.create_model_version = die


def after_creating_the_version():
    """The version exists, and nobody was told."""
    from mlflow import MlflowClient

    create = MlflowClient.create_model_version

    def create_and_die(*args, **kwargs):
        create(*args, **kwargs)
        die()

    MlflowClient.create_model_version = create_and_die


def before_the_alias():
    """Everything is tested, nothing is staged."""
    from tasks.tracking.registry import Registry

    Registry.set_alias = die


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    main(sys.argv[2:])
