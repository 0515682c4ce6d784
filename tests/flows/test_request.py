"""From options to a request."""

from pathlib import Path

import pytest

from flows.edit import edit_video
from flows.novel_views import novel_views
from flows.request import build_request, build_view_request, completed, completed_extension
from flows.training_data import extend_dataset
from model.config import EditRequest, ExtensionRequest
from model.errors import RequestError
from tasks.weights import PRESET_GROUPS, TEXT_EDITS

FIXED = {"video": Path("a.mp4"), "instruction": "make it night", "out": Path("out"), "weights": "untrained"}
LITTLE = {"dataset": Path("pairs"), "out": Path("out"), "framepack": "untrained", "weights": "demo"}
OF_MODELS = {"WindowConfig", "RetrievalConfig", "EditConfig", "SamplingConfig", "TokenConfig", "MergeConfig"}
NOTHING = {"window": {}, "retrieval": {}, "sampling": {}}


def test_what_the_user_says_wins_over_the_preset() -> None:
    default = build_request(FIXED, NOTHING)
    chosen = build_request(FIXED, NOTHING | {"window": {"frames": 9}, "sampling": {"steps": 3, "guidance": None}})
    assert chosen.window.frames == 9 != default.window.frames
    assert chosen.window.width == default.window.width
    assert chosen.edit.sampling.steps == 3
    assert chosen.edit.sampling.guidance == default.edit.sampling.guidance


def test_a_scale_that_the_user_names_is_that_of_all_segments() -> None:
    """The demo model has a scale of its own for segments that recall nothing."""
    demo = FIXED | {"weights": "demo"}
    usual, chosen = (
        build_request(demo, NOTHING | {"sampling": {"guidance": scale}}).edit.sampling for scale in (None, 3.0)
    )
    assert usual.scale(recalls=False) > usual.scale(recalls=True)
    assert chosen.scale(recalls=False) == chosen.scale(recalls=True) == 3.0


def test_a_form_that_names_little_is_completed_as_the_command_line_does_it() -> None:
    """What Prefect's page sends has the fields that somebody filled in."""
    demo = FIXED | {"weights": "demo"}
    asked = EditRequest.model_validate(demo | {"edit": {"sampling": {"guidance": 3.0}}})
    found = completed(asked, TEXT_EDITS)
    assert found == build_request(demo, NOTHING | {"sampling": {"guidance": 3.0}})
    assert completed(found, TEXT_EDITS) == found
    sizes = completed_extension(ExtensionRequest.model_validate(LITTLE | {"width": 96}))
    assert (sizes.height, sizes.width, sizes.segment_frames, sizes.clip_frames) == (64, 96, 5, 33)


def test_what_a_form_shows_has_no_default_where_a_model_has_its_own() -> None:
    """Prefect's page sends the defaults that it is shown, as if somebody had typed them."""
    for flow, form, own in (
        (edit_video, "EditRequest", PRESET_GROUPS),
        (novel_views, "ViewRequest", PRESET_GROUPS),
        (extend_dataset, "ExtensionRequest", ("height", "width", "segment_frames")),
    ):
        shown = flow.parameters.definitions
        fields = shown[form]["properties"]
        assert fields["seed"]["default"] == 0
        settings = [shown[name]["properties"] for name in shown.keys() & OF_MODELS]
        assert [name for name in own if "default" in fields[name]] == []
        assert [name for some in settings for name, field in some.items() if "default" in field] == []
        assert len(settings) == (len(OF_MODELS) if own is PRESET_GROUPS else 0)


def test_what_somebody_said_is_not_held_against_what_nobody_said() -> None:
    asked = FIXED | {"weights": "demo"}
    window = EditRequest.model_validate(asked | {"window": {"frames": 9}})
    tokens = EditRequest.model_validate(asked | {"edit": {"tokens": {"coarse_patch": 2}}})
    assert completed(window, TEXT_EDITS).window.overlap == 1
    assert completed(tokens, TEXT_EDITS).edit.tokens.fine_patch == 2
    short = ExtensionRequest.model_validate(LITTLE | {"clip_frames": 17, "extension": {"frames": 40}})
    assert completed_extension(short).segment_frames == 5
    assert completed_extension(short).extension.least_frames == 40


@pytest.mark.parametrize(
    ("fixed", "choices", "message"),
    [
        ({"instruction": ""}, {}, "instruction"),
        ({"seed": -1}, {}, "seed"),
        ({}, {"window": {"frames": 80}}, "nearest are 77 and 81"),
        ({}, {"window": {"frames": 9, "overlap": 8}}, "overlap 8 must be at most half"),
        ({}, {"sampling": {"steps": 0}}, "--steps: edit.sampling.steps 0"),
        ({"instruction": " \n"}, {}, r"--prompt: instruction ' \\n': is blank; say what to change"),
        ({"instruction": "x" * 5000}, {}, rf"^--prompt: instruction '{'x' * 59}...: String should have at most 4000"),
    ],
)
def test_nonsense_is_named(fixed: dict[str, object], choices: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        build_request(FIXED | fixed, NOTHING | choices)
    assert "\n" not in str(caught.value)


def test_settings_that_do_not_go_together_are_not_all_told() -> None:
    with pytest.raises(RequestError, match=r"^settings: to edit the result of a turn \(on=3\), name its session$"):
        build_request(FIXED | {"on": 3}, NOTHING)


@pytest.mark.parametrize("output", [{"region": {"keep_unchanged": True}}, {"transfer": "guided"}])
def test_a_view_has_no_region(output: dict[str, object]) -> None:
    asked = {"video": Path("a.mp4"), "cameras": ("pan-left",), "out": Path("out"), "weights": "untrained"}
    with pytest.raises(RequestError, match="a new view shares no pixel with the video"):
        build_view_request(asked | {"output": output}, NOTHING)
