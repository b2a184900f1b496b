"""A ceiling on the memory of a process that opens media of strangers."""

from __future__ import annotations

import resource


def limit_memory(megabytes: int) -> None:
    """Let no allocation take this process beyond `megabytes` of data; 0 sets no limit.

    A few hundred bytes of MP4 can claim an index of gigabytes. libav is refused the memory and
    gives that source up; the other rooms of the process go on. Linux enforces it.
    """
    if megabytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes * 2**20
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
