"""The memory that a process takes for itself: what is freed goes back at once, and the most that was held is known.

Left to itself, the C library keeps freed memory for later, in pieces that no longer fit: the private memory of an
Editor then swings between 330 and 490 MB, and a longer run sees a higher peak of what is chance.

Shared pages are not counted. Ray's object store is mapped by every process, and each page of it stays resident in those
that once touched it: the largest resident size that the kernel keeps grows towards the store's 2 GB with every segment,
while nothing is held. Private pages have no such record, so a thread looks at them.
"""

import ctypes
import threading
from functools import cache

import psutil

SAMPLE_SECONDS = 0.05
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGE, SLACK = 2**20, 4 * 2**20  # bytes: what gets pages of its own, and what the heap may keep beyond its need


class Footprint:
    """Watches this process from when it is made. Looks twenty times a second, so that a shorter peak may be missed."""

    def __init__(self) -> None:
        self._process, self._peak = psutil.Process(), 0
        threading.Thread(target=self._watch, name="footprint", daemon=True).start()

    def peak_bytes(self) -> int:
        """The largest private resident size so far."""
        self._look()
        return self._peak

    def held_bytes(self) -> int:
        """The private resident size now."""
        memory = self._process.memory_info()
        return memory.rss - memory.shared

    def _look(self) -> None:
        self._peak = max(self._peak, self.held_bytes())

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(SAMPLE_SECONDS):
            self._look()


@cache
def footprint() -> Footprint:
    """The one of this process. The first call begins to watch, and has freed memory returned from then on."""
    return_freed_memory()
    return Footprint()


def return_freed_memory() -> None:
    """Give large pieces pages of their own, which are unmapped when freed. Does nothing where there is no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, SLACK)
