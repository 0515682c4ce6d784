"""Every instrument through its real loading code: tiny random models in a folder, and tiny exported graphs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from model.errors import WeightsError
from model.metrics.catalogue import CATALOGUE, INSTRUMENTS
from model.metrics.instruments import Instruments
from model.metrics.score import NotMeasured, Score
from model.metrics.video_scores import PASSES, score_video
from model.types import Segment, Shot, Span
from tests.model.metrics.exports import export, export_all
from tests.model.metrics.scenes import SOURCE as LONG
from tests.model.metrics.scenes import brighter, edited, is_number

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SOURCE = LONG[:9, :40, :60].copy()
EDIT = np.stack([frame[:40, :60] for frame in edited(brighter)][:9])
SHOTS = (Shot(0, Span(0, 9)),)
SEGMENTS = (Segment(0, 0, Span(0, 5), 5), Segment(1, 0, Span(4, 9), 5))
PLACES = {
    "dino-vitb16": lambda: ViTModel(ViTConfig(**TINY, patch_size=16), add_pooling_layer=False),
    "dinov2-base": lambda: Dinov2Model(Dinov2Config(**TINY, patch_size=14, mlp_ratio=1)),
    "clip-vit-base-patch32": lambda: CLIPVisionModelWithProjection(
        CLIPVisionConfig(**TINY, patch_size=32, projection_dim=8)
    ),
    "clip-vit-large-patch14": lambda: CLIPVisionModelWithProjection(
        CLIPVisionConfig(**TINY, patch_size=56, projection_dim=12)
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every instrument of the catalogue, at tiny size."""
    place = tmp_path_factory.mktemp("instruments")
    torch.manual_seed(0)
    for name, build in PLACES.items():
        build().save_pretrained(place / name)
    save_file({"weight": torch.full((1, 12), 2.0), "bias": torch.tensor([5.0])}, place / "aesthetic.safetensors")
    export_all(place)
    return place


def test_with_every_instrument_every_metric_has_a_number(folder: Path) -> None:
    tools = Instruments(folder)
    assert {name for name in CATALOGUE if tools.missing(name)} == set()
    found = score_video(lambda: iter(SOURCE), lambda: iter(EDIT), SHOTS, SEGMENTS, 1, tools)
    assert set(found.scores) == {name for name, metric in CATALOGUE.items() if metric.of == "edit"}
    assert [name for name, score in found.scores.items() if isinstance(score, NotMeasured)] == []
    for name in ("subject_consistency", "background_consistency", "segment_consistency", "dino_f", "clip_f"):
        score = found.scores[name]
        assert isinstance(score, Score)
        assert 0 < score.value < 1
    middles = np.abs((EDIT[0:7:2] / 2 + EDIT[2:9:2] / 2).astype(np.uint8) - EDIT[1:8:2].astype(float)).mean()
    smooth = found.scores["motion_smoothness"]
    assert isinstance(smooth, Score)
    assert smooth.value == pytest.approx((255 - middles) / 255, abs=2e-3)
    assert smooth.cases == 4
    assert is_number(found.scores["imaging_quality"], float(EDIT.mean() / 255), 9)
    distance = 2 * np.abs(EDIT.astype(float) - SOURCE).mean() / 255
    assert is_number(found.scores["st_lpips"], float(distance), 9)


def test_without_a_folder_what_needs_weights_has_a_reason_and_no_number(tmp_path: Path) -> None:
    bare = score_video(lambda: iter(SOURCE), lambda: iter(EDIT), SHOTS, SEGMENTS, 1)
    empty = score_video(lambda: iter(SOURCE), lambda: iter(EDIT), SHOTS, SEGMENTS, 1, Instruments(tmp_path))
    for scores in (bare.scores, empty.scores):
        for name, score in scores.items():
            assert isinstance(score, NotMeasured if CATALOGUE[name].needs else Score), name
    assert bare.scores["subject_consistency"] == NotMeasured(
        "needs DINO ViT-B/16; name a folder of instruments that has dino-vitb16"
    )
    assert empty.scores["subject_consistency"] == NotMeasured(f"needs DINO ViT-B/16 at {tmp_path / 'dino-vitb16'}")


def test_metrics_of_one_pass_need_the_same() -> None:
    measured = [name for names in PASSES for name in names]
    assert sorted(measured) == sorted(n for n, metric in CATALOGUE.items() if metric.of == "edit" and metric.needs)
    for names in PASSES:
        assert len({CATALOGUE[name].needs for name in names}) == 1
    assert {place for metric in CATALOGUE.values() for place in metric.needs} == set(INSTRUMENTS)


def test_dino_sees_the_short_side_at_224_and_gives_its_class_token(folder: Path) -> None:
    model = ViTModel.from_pretrained(folder / "dino-vitb16", add_pooling_layer=False).eval()
    frames = torch.from_numpy(SOURCE[:2]).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(frames, (224, 336), mode="bilinear") / 255
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = model((small - mean) / deviation, interpolate_pos_encoding=True).last_hidden_state[:, 0]
    np.testing.assert_allclose(Instruments(folder).features(SOURCE[:2], "dino-vitb16"), expected, atol=1e-6)


def test_clip_sees_the_square_in_the_middle(folder: Path) -> None:
    tools = Instruments(folder)
    wide = np.pad(SOURCE[:1, :, 10:50], ((0, 0), (0, 0), (20, 20), (0, 0)))
    narrow = SOURCE[:1, :, 10:50].copy()
    seen, alone = (tools.features(frames, "clip-vit-base-patch32") for frames in (wide, narrow))
    assert np.abs(seen - alone).max() < 0.05 * np.abs(alone).max()
    assert seen.shape == (1, 8)


def test_a_vote_is_the_head_on_unit_embeddings(folder: Path) -> None:
    tools = Instruments(folder)
    embeddings = tools._seen(SOURCE[:3], "clip-vit-large-patch14")
    expected = 2 * (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).sum(axis=1) + 5
    np.testing.assert_allclose(tools.aesthetic(SOURCE[:3]), expected, rtol=1e-5)


def test_musiq_sees_a_long_side_of_512_at_most(folder: Path) -> None:
    large = np.repeat(np.repeat(SOURCE[0], 16, axis=0), 16, axis=1)
    assert Instruments(folder).imaging(large) == pytest.approx(100 * SOURCE[0].mean() / 255, rel=0.01)


def test_what_amt_made_is_cropped_to_the_frame(folder: Path) -> None:
    made = Instruments(folder).between(SOURCE[0], SOURCE[2])
    assert made.shape == SOURCE[0].shape
    assert np.abs(made - (SOURCE[0] / 2 + SOURCE[2] / 2)).max() <= 1


def test_views_come_as_squares_between_minus_one_and_one(folder: Path) -> None:
    white, black = np.full((20, 30, 3), 255, np.uint8), np.zeros((20, 30, 3), np.uint8)
    tools = Instruments(folder)
    assert tools.view_distance(white, white) == pytest.approx(1)
    assert tools.view_distance(white, black) == pytest.approx(0, abs=1e-6)


def test_other_weights_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    tools = Instruments(tmp_path)
    (tmp_path / "dino-vitb16").symlink_to(folder / "dinov2-base")
    with pytest.raises(WeightsError, match="a model of type dinov2; expected vit"):
        tools.features(SOURCE[:1], "dino-vitb16")
    (tmp_path / "clip-vit-large-patch14").symlink_to(folder / "clip-vit-large-patch14")
    save_file({"weight": torch.ones(1, 9), "bias": torch.ones(1)}, tmp_path / "aesthetic.safetensors")
    with pytest.raises(WeightsError, match=r"weight is \(1, 9\); CLIP ViT-L/14's is \(1, 12\)"):
        tools.aesthetic(SOURCE[:1])
    (tmp_path / "musiq-spaq.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match=r"musiq-spaq\.onnx: onnxruntime refuses it"):
        tools.imaging(SOURCE[0])
    export(tmp_path / "amt-s.onnx", [("Abs", ["img0"], "out")], {"img0": [1, 3, "h", "w"]}, ("out", [1, 3, "h", "w"]))
    with pytest.raises(WeightsError, match="has inputs img0; expected img0, img1"):
        tools.between(SOURCE[0], SOURCE[1])


def test_a_model_that_lacks_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "clip-vit-base-patch32"
    half.mkdir()
    (half / "config.json").write_text((folder / "clip-vit-base-patch32" / "config.json").read_text())
    save_file({"visual_projection.weight": torch.ones(8, 16)}, half / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks \d+ weights"):
        Instruments(tmp_path).features(SOURCE[:1], "clip-vit-base-patch32")
