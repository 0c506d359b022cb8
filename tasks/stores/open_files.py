"""How many files a run may have open: features of many images are mapped files, one for every shard."""

import resource


def allow_many_files() -> None:
    """Let this process open as many files as the system allows it; shells begin with a thousand or so."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
