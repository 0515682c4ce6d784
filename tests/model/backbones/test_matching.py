"""Names, shapes and the account of both."""

import pytest
from diffusers import WanTransformer3DModel

from model.backbones.matching import Report, match, wan_name
from model.errors import WeightsError


@pytest.mark.parametrize(
    ("original", "ours"),
    [
        ("blocks.7.self_attn.q.weight", "blocks.7.attn1.to_q.weight"),
        ("blocks.29.cross_attn.o.bias", "blocks.29.attn2.to_out.0.bias"),
        ("blocks.0.cross_attn.norm_k.weight", "blocks.0.attn2.norm_k.weight"),
        ("blocks.0.norm3.bias", "blocks.0.norm2.bias"),
        ("blocks.0.ffn.0.weight", "blocks.0.ffn.net.0.proj.weight"),
        ("blocks.0.modulation", "blocks.0.scale_shift_table"),
        ("blocks.0.cam_encoder.weight", "blocks.0.camera.weight"),
        ("head.modulation", "scale_shift_table"),
        ("head.head.weight", "proj_out.weight"),
        ("pipe.dit.time_projection.1.bias", "condition_embedder.time_proj.bias"),
        ("blocks.0.norm2.bias", None),
        ("blocks.0.attn1.to_q.weight", None),
        ("anything", None),
    ],
)
def test_original_names(original: str, ours: str | None) -> None:
    assert wan_name(original) == ours


def test_every_parameter_of_wan_has_exactly_one_original_name(original_names: dict[str, str]) -> None:
    model = WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, ffn_dim=8, num_layers=2
    )
    names = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    originals = {original_names[name]: shape for name, shape in names.items()}
    assert len(originals) == len(names)
    report = match(names, originals)
    assert report.matched == {name: original_names[name] for name in names}
    assert report == Report(matched=report.matched)
    report.check()


def test_our_own_names_are_taken_as_they_are() -> None:
    shapes = {"blocks.0.attn1.to_q.weight": (4, 4), "memory.fine.weight": (3,)}
    assert match(shapes, shapes).matched == {name: name for name in shapes}


def test_modules_of_unknown_name_are_paired_by_make_in_natural_order() -> None:
    ours = {f"mergers.{block}.{leaf}": shape for block in (2, 10) for leaf, shape in CONV.items()}
    theirs = {f"token_downsampler_{block}.{leaf}": shape for block in (10, 2) for leaf, shape in CONV.items()}
    report = match(ours, theirs)
    assert report.matched["mergers.2.weight"] == "token_downsampler_2.weight"
    assert report.matched["mergers.10.bias"] == "token_downsampler_10.bias"
    assert report.by_shape == frozenset(ours)
    assert "by shape: token_downsampler_2.bias -> mergers.2.bias" in str(report)
    report.check()


CONV = {"weight": (8, 4, 1, 2, 2), "bias": (8,)}


def test_two_for_one_is_reported_not_guessed() -> None:
    report = match({"fine.weight": (8, 4)}, {"a.weight": (8, 4), "b.weight": (8, 4)})
    assert report.matched == {}
    assert report.missing == ("fine.weight",)
    assert report.unexpected == ("a.weight", "b.weight")
    assert str(report).splitlines()[1:] == ["missing: fine.weight", "unexpected: a.weight", "unexpected: b.weight"]


def test_leftovers_are_errors_unless_named() -> None:
    report = match({"a.weight": (1,), "b": (2,)}, {"c.weight": (3,), "d": (4,)})
    with pytest.raises(WeightsError, match=r"2 missing \(a.weight, b\); 2 unexpected \(c.weight, d\)"):
        report.check()
    with pytest.raises(WeightsError, match=r"model: 1 unexpected \(d\); give"):
        report.check(may_miss=["*"], may_ignore=["c.*"])
    report.check(may_miss=["a.*", "b"], may_ignore=["?*"])


def test_a_known_name_of_another_shape_is_always_an_error() -> None:
    report = match({"patch_embedding.weight": (8, 4)}, {"patch_embedding.weight": (8, 5)})
    with pytest.raises(WeightsError, match=r"patch_embedding.weight is \[8, 5\] where the model has \[8, 4\]"):
        report.check(may_miss=["*"], may_ignore=["*"])
    assert report.missing == report.unexpected == ()
    assert "misshapen" in str(report)


def test_many_faults_are_counted() -> None:
    report = match({}, {f"x{index}": (1,) for index in range(20)})
    with pytest.raises(WeightsError, match=r"20 unexpected .*x7 and 12 more"):
        report.check()
