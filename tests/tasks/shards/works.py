"""What tests let Dask workers do; imports little, for workers import it too. No test itself."""

import os
import signal
import time

from tasks.errors import DataError


def kill_yourself(shard, threads, tell):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(shard, threads, tell):
    time.sleep(0.1)


def refuse(shard, threads, tell):
    try:
        fail_unsendably(shard, threads, tell)
    except Unsendable as error:
        raise DataError("no such colour", findings_path="/there") from error


class Unsendable(Exception):
    def __reduce__(self):
        raise TypeError("I stay where I am")


def fail_unsendably(shard, threads, tell):
    raise Unsendable("too deep")


def who(shard, threads, tell):
    time.sleep(0.01)
    tell(len(shard))
    return shard, threads, os.getpid()
