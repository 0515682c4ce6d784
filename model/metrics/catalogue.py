"""Every metric there is: what it says, in which unit, which way is better, and what it needs. Loads no torch.

`docs/metrics.md` is made of this. Weights are instruments that the user lays into one folder; a metric whose instrument
is not there has no number, and nothing else takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

Frame = UInt8[np.ndarray, "height width 3"]
Frames = UInt8[np.ndarray, "frame height width 3"]

Features = Literal["dino-vitb16", "dinov2-base", "clip-vit-base-patch32"]
Of = Literal["edit", "files", "cameras", "views"]
"""What a metric looks at: a source and its edit, the two files, camera paths, or views of one moment in two turns."""


@dataclass(frozen=True)
class Instrument:
    """Weights at `place` in the folder of instruments; a folder of safetensors, or a file; `holds` is what is in it."""

    place: str
    title: str
    holds: str

    @property
    def exported(self) -> bool:
        """Whether it is a model that onnxruntime runs."""
        return self.place.endswith(".onnx")


@dataclass(frozen=True)
class Metric:
    """One metric. `needs` are the places of its instruments; `of` is what it looks at; `function` computes it."""

    name: str
    says: str
    unit: str
    higher_is_better: bool
    of: Of
    needs: tuple[str, ...]
    source: str
    function: str


@runtime_checkable
class InstrumentSet(Protocol):
    """Loaded instruments, as `model/metrics/instruments.py` has them."""

    def missing(self, metric: str) -> str | None:
        """Why a metric cannot be measured; None where it can."""
        ...

    def features(self, frames: Frames, name: Features) -> Float32[np.ndarray, "frame size"]:
        """The features of frames."""
        ...

    def aesthetic(self, frames: Frames) -> Float32[np.ndarray, " frame"]:
        """LAION's aesthetic score of frames, some 1 to 10."""
        ...

    def imaging(self, frame: Frame) -> float:
        """MUSIQ's score of a frame, 0 to 100."""
        ...

    def between(self, earlier: Frame, later: Frame) -> Frame:
        """The frame in the middle of two, as AMT makes it."""
        ...

    def perceptual_distance(self, one: Frame, other: Frame) -> float:
        """ST-LPIPS of two frames."""
        ...

    def view_distance(self, one: Frame, other: Frame) -> float:
        """MEt3R of two views."""
        ...


_MODEL = "transformers folder: config.json and model.safetensors"
INSTRUMENTS: Mapping[str, Instrument] = {
    instrument.place: instrument
    for instrument in (
        Instrument("dino-vitb16", "DINO ViT-B/16", f"facebook/dino-vitb16 (ViTModel); {_MODEL}"),
        Instrument("dinov2-base", "DINOv2", f"facebook/dinov2-base (Dinov2Model); {_MODEL}"),
        Instrument("clip-vit-base-patch32", "CLIP ViT-B/32", f"openai/clip-vit-base-patch32; {_MODEL}"),
        Instrument("clip-vit-large-patch14", "CLIP ViT-L/14", f"openai/clip-vit-large-patch14; {_MODEL}"),
        Instrument(
            "aesthetic.safetensors",
            "LAION's aesthetic head",
            "`weight` [1, 768] and `bias` [1] of sa_0_4_vit_l_14_linear, float32",
        ),
        Instrument(
            "musiq-spaq.onnx", "MUSIQ-SPAQ", "`image` [1, 3, h, w] in [0, 1] -> `score` of one number, 0 to 100"
        ),
        Instrument(
            "amt-s.onnx",
            "AMT-S",
            "`img0`, `img1` [1, 3, h, w] in [0, 1], sides multiples of 16 -> `imgt_pred` [1, 3, h, w] in [0, 1]",
        ),
        Instrument("met3r.onnx", "MEt3R", "`images` [1, 2, 3, 256, 256] in [-1, 1] -> `score` of one number, 0 to 2"),
        Instrument(
            "st-lpips.onnx", "ST-LPIPS", "`img0`, `img1` [1, 3, h, w] in [-1, 1] -> `distance` of one number, 0 and up"
        ),
    )
}
"""By their place in the folder. All that onnxruntime runs takes and gives float32, with dynamic h and w."""

_VBENCH = "VBench (Huang et al. 2024)"
# fmt: off
CATALOGUE: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "subject_consistency",
            "Frames look like the first of their shot and like the one before, to DINO.",
            "cosine, 0 to 1", True, "edit", ("dino-vitb16",), _VBENCH, "vbench.py:subject_consistency",
        ),
        Metric(
            "background_consistency",
            "The same, to CLIP.",
            "cosine, 0 to 1", True, "edit", ("clip-vit-base-patch32",), _VBENCH, "vbench.py:background_consistency",
        ),
        Metric(
            "aesthetic_quality",
            "How beautiful frames are, to people who rated pictures.",
            "rating / 10, about 0 to 1", True, "edit", ("clip-vit-large-patch14", "aesthetic.safetensors"), _VBENCH,
            "vbench.py:aesthetic_quality",
        ),
        Metric(
            "imaging_quality",
            "How free of noise, blur and wrong exposure frames are.",
            "rating / 100, 0 to 1", True, "edit", ("musiq-spaq.onnx",), _VBENCH, "vbench.py:imaging_quality",
        ),
        Metric(
            "temporal_flickering",
            "How little neighbouring frames differ; motion counts as flicker.",
            "0 to 1", True, "edit", (), _VBENCH, "vbench.py:temporal_flickering",
        ),
        Metric(
            "flickering_beyond_source",
            "Temporal flickering of the edit less that of its source.",
            "from -1 to 1, 0 is alike", True, "edit", (), "ours, of VBench's", "vbench.py:flickering_beyond_source",
        ),
        Metric(
            "motion_smoothness",
            "Every second frame is what its neighbours suggest.",
            "0 to 1", True, "edit", ("amt-s.onnx",), _VBENCH, "vbench.py:motion_smoothness",
        ),
        Metric(
            "segment_consistency",
            "Segments of a shot begin alike, to DINO.",
            "cosine, 0 to 1", True, "edit", ("dino-vitb16",), "VBench-Long, clip to clip",
            "features.py:segment_consistency",
        ),
        Metric(
            "dino_f",
            "All frames of a shot look alike, to DINOv2.",
            "cosine, -1 to 1", True, "edit", ("dinov2-base",), "the paper, Table 3",
            "features.py:cross_frame_similarity",
        ),
        Metric(
            "clip_f",
            "All frames of a shot look alike, to CLIP.",
            "cosine, -1 to 1", True, "edit", ("clip-vit-base-patch32",), "the paper, Table 3",
            "features.py:cross_frame_similarity",
        ),
        Metric(
            "warping_error",
            "Difference between a frame and the next one warped back along the source's motion.",
            "squared, pixels in [0, 1]", False, "edit", (), "Lai et al. 2018, with DIS flow at 240 lines",
            "steadiness.py:warping_error",
        ),
        Metric(
            "flicker",
            "Change from frame to frame beyond what motion and the source explain, on the mean.",
            "levels of 255", False, "edit", (), "ours", "steadiness.py:flicker",
        ),
        Metric(
            "worst_burst",
            "The largest such change over four pairs of frames in a row.",
            "levels of 255", False, "edit", (), "ours", "steadiness.py:worst_burst",
        ),
        Metric(
            "worst_seam",
            "The jump where one segment takes over from another, relative to jumps inside them.",
            "ratio, 1 is no seam", False, "edit", (), "ours", "steadiness.py:worst_seam",
        ),
        Metric(
            "colour_drift",
            "How far the colours that the edit gives a segment are from what it gives the others, at worst.",
            "CIELAB units", False, "edit", (), "ours", "drift.py:segment_drift",
        ),
        Metric(
            "psnr", "How near the edit is to its source.", "dB, 0 to 100", True, "edit", (),
            "of the mean squared error", "fidelity.py:psnr",
        ),
        Metric(
            "ssim", "How near the edit's structure is to its source's.", "from -1 to 1", True, "edit", (),
            "Wang et al. 2004", "fidelity.py:ssim",
        ),
        Metric(
            "st_lpips",
            "How far the edit is from its source, to a network that forgives small shifts.",
            "0 and up", False, "edit", ("st-lpips.onnx",), "Ghildyal and Liu 2022", "video_scores.py:st_lpips",
        ),
        Metric(
            "vmaf", "How near the edit is to its source, to viewers of compressed video.", "0 to 100", True, "files",
            (), "Netflix's libvmaf, vmaf_v0.6.1", "storage/vmaf.py:vmaf",
        ),
        Metric(
            "rotation_error", "By how much cameras look elsewhere than they should.", "degrees, 0 to 180", False,
            "cameras", (), "the paper, Table 2", "cameras.py:rotation_error",
        ),
        Metric(
            "translation_error", "How far cameras are from where they should be, after scaling.", "metres", False,
            "cameras", (), "the paper, Table 2", "cameras.py:translation_error",
        ),
        Metric(
            "met3r", "How little two views show the same scene.", "0 to 2", False, "views", ("met3r.onnx",),
            "Asim et al. 2025", "view_pairs.py:met3r",
        ),
        Metric(
            "flow_view_distance", "How little structure two views share after optical flow; no MEt3R.", "0 to 2", False,
            "views", (), "ours", "view_pairs.py:flow_view_distance",
        ),
    )
}
# fmt: on
"""By name. `function` is a file of `model/metrics/` unless it names another folder."""


def missing(metric: str, folder: Path | None) -> str | None:
    """Why a metric cannot be measured with a folder of instruments; None where it can. One sentence for the user."""
    for place in CATALOGUE[metric].needs:
        instrument = INSTRUMENTS[place]
        if folder is None:
            return f"needs {instrument.title}; name a folder of instruments that has {place}"
        if not (folder / place).exists():
            return f"needs {instrument.title} at {folder / place}"
        if instrument.exported and find_spec("onnxruntime") is None:
            return "needs the package onnxruntime; pip install 'memory-v2v[metrics]'"
    return None
