"""Find the cuts of a video, so that no segment ever straddles one. Numpy half: no torch.

Not in the paper, whose stated limit is multi-shot footage (objects bleed over cuts). Knows nothing of files: it is
fed frames, small ones do. Finds hard cuts only; see `ContentShotDetector` for what it misses.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from model.types import Shot, Span

Frame = UInt8[np.ndarray, "height width 3"]


class ContentShotDetector:
    """Hard cuts: PySceneDetect's content score, the mean change of hue, saturation and brightness from frame to frame.

    64x36 thumbnails are enough. It misses dissolves, and fades through black of more than about ten frames each way:
    their change a frame is that of a moving camera, and the shots they join stay one. A flash or a very fast pan may
    add a cut that is none. Of the two faults the second is the cheap one (shorter segments), so cuts are kept even
    where they follow each other closely: `shortest` seconds is the least length of a shot.
    """

    def __init__(self, threshold: float = 27.0, shortest: float = 0.2) -> None:
        assert threshold > 0, f"threshold {threshold} calls every frame a cut"
        assert shortest >= 0, f"a shot cannot last {shortest} s"
        self.threshold = threshold
        self.shortest = shortest

    def cuts(self, frames: Iterable[Frame], rate: Fraction | float) -> list[int]:
        """Indices of the frames that begin a new shot, ascending; never 0. `rate` is in frames a second.

        Holds two frames in memory.
        """
        from scenedetect import FrameTimecode
        from scenedetect.detectors import ContentDetector
        from scenedetect.detectors.content_detector import FlashFilter

        shortest = max(1, round(self.shortest * rate))
        detector = ContentDetector(self.threshold, shortest, filter_mode=FlashFilter.Mode.SUPPRESS)
        cuts: list[int] = []
        for index, frame in enumerate(frames):
            found = detector.process_frame(FrameTimecode(index, Fraction(rate)), _to_bgr(frame))
            cuts.extend(cut.frame_num for cut in found)
        return cuts


def shots_from_cuts(cuts: Sequence[int], frames: int) -> list[Shot]:
    """Shots of a video of `frames` frames, from the ascending indices of the frames that begin a new shot."""
    borders = [0, *cuts, frames]
    assert all(left < right for left, right in pairwise(borders)), (
        f"cuts must ascend within (0, {frames}): {list(cuts)}"
    )
    return [Shot(index, Span(*span)) for index, span in enumerate(pairwise(borders))]


def _to_bgr(frame: Frame) -> Frame:
    """OpenCV's channel order, which the detector expects."""
    return np.ascontiguousarray(frame[..., ::-1])
