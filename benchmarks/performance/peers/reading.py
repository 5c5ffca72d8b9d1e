"""What programs that read pages have in common: paths of images in, lines of digits out, and what each page took.

Runs in every peer's environment, so it needs nothing but Python.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

DIGITS = frozenset("0123456789")


def serve(read: Callable[[str], list[str]]) -> None:
    """For each path on standard input, writes one line of JSON: the page's lines, CPU seconds and peak memory.

    The memory is that of this process or of the largest one that it started, whichever is more, in bytes.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print there
    for path in map(str.strip, sys.stdin):
        before = _seconds()
        lines = read(path)
        seconds = _seconds() - before
        digits = ["".join(one for one in line if one in DIGITS) for line in lines]
        answer = {"lines": [one for one in digits if one], "seconds": seconds, "peak": _peak()}
        print(json.dumps(answer), file=answers, flush=True)


def _seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)


def _peak() -> int:
    # getrusage would count what this process was forked from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own = int(status.partition("VmHWM:")[2].split()[0])
    return 1024 * max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
