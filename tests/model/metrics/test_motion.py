"""Motion between two pictures, for threads that look at several videos at once."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from model.metrics.motion import motion_between

THREADS, ROUNDS = 4, 40


def test_threads_do_not_spoil_each_others_motion() -> None:
    random = np.random.default_rng(5)
    pictures = [cv2.resize(random.random((6, 8, 3)).astype(np.float32), (64, 64)) for _ in range(THREADS + 1)]
    wanted = [motion_between(pictures[at], pictures[at + 1]).flow for at in range(THREADS)]

    def same(at: int) -> bool:
        pair = pictures[at], pictures[at + 1]
        return all(np.array_equal(motion_between(*pair).flow, wanted[at]) for _ in range(ROUNDS))

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(same, range(THREADS)))
