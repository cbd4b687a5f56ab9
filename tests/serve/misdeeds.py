"""Work that goes wrong, for worker processes to import."""

import errno
import os
import signal
import time

from diptych.serve.worker import Facts, Setup


def sleep(setup: Setup, seconds: float) -> Facts:
    time.sleep(seconds)
    return {}


def die(setup: Setup) -> Facts:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def want_memory(setup: Setup) -> Facts:
    raise MemoryError


def fill_the_disk(setup: Setup, *_: object) -> Facts:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
