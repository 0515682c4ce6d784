"""What a process takes for itself counts, what it shares with others does not."""

from multiprocessing.shared_memory import SharedMemory

import numpy as np

from tasks.footprint import Footprint

SIZE = 400 * 2**20


def test_a_peak_is_kept_after_it_is_gone() -> None:
    watcher = Footprint()
    before = watcher.peak_bytes()
    held = np.ones(SIZE, np.uint8)
    peak = watcher.peak_bytes()
    assert peak > before + SIZE / 2
    del held
    assert watcher.peak_bytes() >= peak


def test_shared_pages_do_not_count() -> None:
    watcher = Footprint()
    before = watcher.peak_bytes()
    memory = SharedMemory(create=True, size=SIZE)
    try:
        np.ndarray(SIZE, np.uint8, memory.buf)[:] = 1
        assert watcher.peak_bytes() < before + SIZE / 4
    finally:
        memory.close()
        memory.unlink()
