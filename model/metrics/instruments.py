"""The instruments, loaded: vision models from a folder of the user's, each when it is first asked for. Torch half.

Frames are prepared as VBench prepares them: bilinear or bicubic without antialiasing, normalised with the models' own
means. Two differences are left: DINO's position table is interpolated by transformers rather than by DINO's own code,
and DINOv2 sees the whole frame squeezed to a square, as the descriptor of segments does. Loads safetensors and ONNX
alone.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection, PreTrainedModel, ViTModel

from model.backbones.dinov2 import DEVIATION, MEAN, Dinov2Descriptor
from model.backbones.model_folder import read_config, require_safe_part
from model.errors import WeightsError, first_line
from model.metrics.catalogue import Features, Frame, Frames, missing
from model.metrics.exported import ExportedModel

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIDE = 224  # pixels of the short side that DINO and CLIP see
LONG_SIDE = 512  # pixels of the long side that MUSIQ sees at most
VIEW_SIDE = 256  # pixels of the square that MEt3R sees
STRIDE = 16  # AMT takes pictures whose sides are multiples of this
BATCH = 16

Pixels = Float[Tensor, "_ 3 _ _"]


class Instruments:
    """All instruments of one folder. Ask `missing` first: what is not there is a `WeightsError` when it is used.

    An actor can hold it: making one costs nothing, and what was loaded stays.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self._folder, self._device = Path(folder), torch.device(device)
        self._exported = cache(self._open_exported)
        self._vision = cache(self._open_vision)

    def missing(self, metric: str) -> str | None:
        """Why a metric of the catalogue cannot be measured; None where it can."""
        return missing(metric, self._folder)

    def features(self, frames: Frames, name: Features) -> Float32[np.ndarray, "frame size"]:
        """Features of frames `[frame, height, width, 3]`, uint8: class tokens of DINO, image embeddings of CLIP.

        Raises:
            WeightsError: the model does not load.
        """
        return self._seen(frames, name)

    def aesthetic(self, frames: Frames) -> Float32[np.ndarray, " frame"]:
        """LAION's score: a linear head on the unit embeddings of CLIP ViT-L/14.

        Raises:
            WeightsError: a model does not load, or the head is of another one.
        """
        embeddings, (weight, bias) = self._seen(frames, "clip-vit-large-patch14"), self._head()
        if weight.shape != (1, embeddings.shape[1]) or bias.shape != (1,):
            path, size = self._folder / "aesthetic.safetensors", embeddings.shape[1]
            raise WeightsError(f"{path}: weight is {weight.shape}; CLIP ViT-L/14's is (1, {size}), and bias (1,)")
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        return (unit @ weight[0] + bias[0]).astype(np.float32)

    def imaging(self, frame: Frame) -> float:
        """MUSIQ's score of a frame, 0 to 100; a long side beyond 512 pixels is reduced to that."""
        pixels = _pixels(frame[None])
        height, width = frame.shape[:2]
        if max(height, width) > LONG_SIDE:
            scale = LONG_SIDE / max(height, width)
            pixels = F.interpolate(pixels, (int(scale * height), int(scale * width)), mode="bilinear")
        model = self._exported("musiq-spaq.onnx", ("image",), "score")
        return _number(model.run(image=pixels.numpy() / np.float32(255)))

    def between(self, earlier: Frame, later: Frame) -> Frame:
        """The frame in the middle of two; the sides are padded to multiples of 16 by their edges, and cropped again."""
        one, other = (_padded(frame) for frame in (earlier, later))
        made = self._exported("amt-s.onnx", ("img0", "img1"), "imgt_pred").run(img0=one, img1=other)
        height, width = earlier.shape[:2]
        top, left = (made.shape[2] - height) // 2, (made.shape[3] - width) // 2
        middle = made[0, :, top : top + height, left : left + width].transpose(1, 2, 0)
        return (middle * 255).clip(0, 255).astype(np.uint8)

    def perceptual_distance(self, one: Frame, other: Frame) -> float:
        """ST-LPIPS of two frames, at their size."""
        first, second = (_signed(frame)[None] for frame in (one, other))
        return _number(self._exported("st-lpips.onnx", ("img0", "img1"), "distance").run(img0=first, img1=second))

    def view_distance(self, one: Frame, other: Frame) -> float:
        """MEt3R of two views, each scaled to a square of 256 pixels."""
        size = (VIEW_SIDE, VIEW_SIDE)
        views = [_signed(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)) for frame in (one, other)]
        return _number(self._exported("met3r.onnx", ("images",), "score").run(images=np.stack(views)[None]))

    def _seen(self, frames: Frames, name: str) -> Float32[np.ndarray, "frame size"]:
        see = self._vision(name)
        return np.concatenate([see(frames[start : start + BATCH]) for start in range(0, len(frames), BATCH)])

    def _open_exported(self, place: str, inputs: tuple[str, ...], output: str) -> ExportedModel:
        return ExportedModel(self._folder / place, inputs, output, self._device.type)

    def _open_vision(self, name: str) -> Callable[[Frames], Float32[np.ndarray, "frame size"]]:
        folder, device = self._folder / name, self._device
        if name == "dinov2-base":
            return Dinov2Descriptor(str(folder), str(device)).describe_each
        if name == "dino-vitb16":
            dino = _load(folder, ViTModel, ("vit",), add_pooling_layer=False).to(device)
            return lambda frames: _class_tokens(dino, _for_dino(frames))
        clip = _load(folder, CLIPVisionModelWithProjection, ("clip", "clip_vision_model")).to(device)
        return lambda frames: _embeddings(clip, _for_clip(frames))

    def _head(self) -> tuple[Float32[np.ndarray, "1 size"], Float32[np.ndarray, "1"]]:
        path = self._folder / "aesthetic.safetensors"
        try:
            tensors = load_file(path)
            return tensors["weight"].float().numpy(), tensors["bias"].float().numpy()
        except (OSError, SafetensorError, KeyError) as fault:
            raise WeightsError(f"{path}: expected tensors weight [1, 768] and bias [1] ({fault})") from None


def _load(folder: Path, kind: type[PreTrainedModel], types: tuple[str, ...], **options: Any) -> Any:
    """A model of which every weight is in the folder, ready to look."""
    require_safe_part(folder)
    if (found := read_config(folder).get("model_type")) not in types:
        raise WeightsError(f"{folder}: a model of type {found}; expected {types[0]}")
    try:
        loaded: Any = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as fault:
        raise WeightsError(f"{folder}: does not load: {first_line(fault, 200)}") from None
    model, told = loaded
    if lost := sorted(told["missing_keys"]):
        raise WeightsError(f"{folder}: lacks {len(lost)} weights, {lost[0]} first; give the whole model")
    return model.eval()


@torch.no_grad()
def _class_tokens(model: ViTModel, pixels: Pixels) -> Float32[np.ndarray, "frame size"]:
    seen = model(pixels.to(model.device), interpolate_pos_encoding=True)
    return seen.last_hidden_state[:, 0].float().cpu().numpy()


@torch.no_grad()
def _embeddings(model: CLIPVisionModelWithProjection, pixels: Pixels) -> Float32[np.ndarray, "frame size"]:
    return model(pixels.to(model.device)).image_embeds.float().cpu().numpy()


def _for_dino(frames: Frames) -> Pixels:
    """The short side at 224 pixels, bilinear; the long side as it comes."""
    return _normalised(_short_side(_pixels(frames), "bilinear"), MEAN, DEVIATION)


def _for_clip(frames: Frames) -> Pixels:
    """The square in the middle of it, bicubic."""
    pixels = _short_side(_pixels(frames), "bicubic")
    top, left = (round((length - SIDE) / 2) for length in pixels.shape[2:])
    return _normalised(pixels[:, :, top : top + SIDE, left : left + SIDE], CLIP_MEAN, CLIP_DEVIATION)


def _short_side(pixels: Pixels, mode: str) -> Pixels:
    height, width = pixels.shape[2:]
    size = (SIDE, int(SIDE * width / height)) if height <= width else (int(SIDE * height / width), SIDE)
    return F.interpolate(pixels, size, mode=mode, align_corners=False)


def _pixels(frames: Frames) -> Pixels:
    """Channels first, levels as floats."""
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32))


def _normalised(pixels: Pixels, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Pixels:
    centre, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, deviation))
    return (pixels / 255 - centre) / scale


def _padded(frame: Frame) -> Float32[np.ndarray, "1 3 rows columns"]:
    """In [0, 1], both sides padded to multiples of 16, evenly."""
    missing_rows, missing_columns = (-length % STRIDE for length in frame.shape[:2])
    sides = [(lack // 2, lack - lack // 2) for lack in (missing_rows, missing_columns)]
    padded = np.pad(frame, [*sides, (0, 0)], mode="edge")
    return (padded.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)


def _signed(frame: Frame) -> Float32[np.ndarray, "3 height width"]:
    return (frame.transpose(2, 0, 1) / np.float32(127.5) - 1).astype(np.float32)


def _number(output: Float32[np.ndarray, "..."]) -> float:
    """The one number that a model gave.

    Raises:
        WeightsError: it gave more.
    """
    if output.size != 1:
        raise WeightsError(f"an exported model gave {output.size} numbers, expected 1; export it for one picture")
    return float(output.reshape(()))
