"""Manifests as tables."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalog import find_faults, read_catalog
from tests.storage.catalog.manifests import told, write_file

FULL = (
    "video_id,uri,prompt,seed,on,prompt_2,seed_2,on_2,priority,output,tags,memory_scope,schedule,skip,frames,overlap,"
    "height,width,top_k,steps,guidance,codec,tone_map,mask,feather,"
    "keep_unchanged,transfer\n"
    'one,a.mp4,"red, then\ngreen",3,0,snow,4,last,-2,s3://films/s1,s1 s2,group:g,anchors:4,false,9,8,480,832,5,20,4.5,'
    'ffv1,TRUE,"10%,0,50%,100%",2.5,true,guided\n'
    "two,a.mp4,blue,,,,,,,,,,,,,,,,,,,,,,,,\n"
)


def faults_of(folder: Path, text: str) -> list[tuple[int, str, str]]:
    return told(find_faults(write_file(folder, "m.csv", text)))


def test_every_column_is_read(tmp_path: Path) -> None:
    one, two = read_catalog(write_file(tmp_path, "m.csv", FULL)).videos
    assert [(turn.prompt, turn.seed, turn.on) for turn in one.turns] == [
        ("red, then\ngreen", 3, 0),
        ("snow", 4, "last"),
    ]
    assert (one.priority, one.output, one.tags, one.skip) == (-2, "s3://films/s1", ("s1", "s2"), False)
    assert (one.memory_scope, one.schedule) == ("group:g", "anchors:4")
    assert tuple(one.segment.model_dump().values()) == (9, 8, 480, 832)
    assert tuple(one.params.model_dump().values()) == (5, 20, 4.5)
    assert (one.deliver.codec, one.deliver.tone_map, one.deliver.transfer) == ("ffv1", True, "guided")
    assert tuple(one.deliver.region.model_dump(exclude={"threshold"}).values()) == ("10%,0,50%,100%", 2.5, True)
    assert two.model_dump(exclude_unset=True) == {
        "video_id": "two",
        "uri": "a.mp4",
        "turns": ({"prompt": "blue"},),
    }


def test_turns_may_come_from_the_defaults(tmp_path: Path) -> None:
    defaults = write_file(tmp_path, "d.yaml", "turns: [{prompt: x}]")
    (video,) = read_catalog(write_file(tmp_path, "m.csv", "\ufeffvideo_id, uri\r\na,a.mp4\r\n\r\n"), defaults).videos
    assert video.turns[0].prompt == "x"


def test_a_header_names_no_video(tmp_path: Path) -> None:
    manifest = write_file(tmp_path, "m.csv", "uri,video_id,prompt,colour\na.mp4,a,x,red\n")
    (tmp_path / "a.mp4").touch()
    assert [(fault.line, fault.field) for fault in find_faults(manifest)] == [(1, "colour")]


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        ("uri,video_id,promt\na.mp4,a,x\n", 1, "promt", "is no column; expected some of video_id"),
        ("uri,video_id,prompt_1\na.mp4,a,x\n", 1, "prompt_1", "is no column"),
        ('uri,video_id,"x\ny"\na.mp4,a,x\n', 1, "'x\\ny'", "is no column"),
        ("uri,video_id,prompt,prompt\na.mp4,a,x,y\n", 1, "prompt", "is a column twice"),
        ("uri,prompt\na.mp4,x\n", 1, "video_id", "is a column that must be there"),
        ("uri,video_id,prompt\n\na.mp4,a\n", 3, "", "has 2 cells, expected 3"),
        ("uri,video_id,prompt\na.mp4,a,x,y\n", 2, "", "has 4 cells, expected 3"),
        ('uri,video_id,prompt\na.mp4,a,"x\ny"\na.mp4,b,\n', 4, "turns", "has no turns"),
        ("uri,video_id,prompt,seed\na.mp4,a,,4\n", 2, "prompt", "is missing"),
        ("uri,video_id,prompt,prompt_3\na.mp4,a,x,y\n", 2, "turns.1.prompt", "is missing"),
        ("uri,video_id,prompt,frames\na.mp4,a,x,many\n", 2, "frames", "valid integer, got 'many'"),
        ("uri,video_id,prompt,frames\na.mp4,a,x,1e3\n", 2, "frames", "valid integer, got '1e3'"),
        ("uri,video_id,prompt,skip\na.mp4,a,x,yes\n", 2, "skip", "valid boolean, got 'yes'"),
        ("uri,video_id,prompt,guidance\na.mp4,a,x,nan\n", 2, "guidance", "valid number, got 'nan'"),
        ("uri,video_id,prompt,codec\na.mp4,a,x,h265\n", 2, "codec", "got 'h265'"),
        ("uri,video_id,prompt,on\na.mp4,a,x,first\n", 2, "on", "'last', got 'first'"),
        (f"uri,video_id,prompt,seed\na.mp4,a,x,{'9' * 5000}\n", 2, "seed", "valid integer"),
        ('uri,video_id,prompt\na.mp4,a,"x\n', 2, "", "not CSV: unexpected end of data; what follows was not read"),
        ('uri,video_id,prompt\na.mp4,a,"x"y\n', 2, "", "not CSV"),
        (f"uri,video_id,prompt\na.mp4,a,{'x' * 140_000}\n", 2, "", "not CSV: field larger than field limit"),
        ('uri,video_id,prompt\nx,"\n' + f'","{"x" * 1000}\n' * 1100, 2, "", "a row of more than 1,048,576 letters"),
        (f"uri,video_id,prompt\n{'x,' * 2**20}\na.mp4,a,x\n", 2, "", "is longer than 1,048,576 bytes"),
        ("uri,video_id,prompt\na.mp4,a,\ud800\n", 2, "", "is not UTF-8"),
    ],
)
def test_a_fault_is_told_with_its_row_and_column(text: str, line: int, field: str, said: str, tmp_path: Path) -> None:
    found = faults_of(tmp_path, text)
    assert [each for each in found if each[:2] == (line, field) and said in each[2]], found
    assert all("\n" not in name + message and len(message) < 400 for _, name, message in found)


def test_rows_after_a_bad_one_are_read(tmp_path: Path) -> None:
    text = f"uri,video_id,prompt\n{'x,' * 2**20}\na.mp4,a,x\na.mp4,A,x\n"
    assert [(line, field) for line, field, _ in faults_of(tmp_path, text)] == [(2, ""), (4, "video_id")]


@given(st.text() | st.text(alphabet='",\n\rab;\0'))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "table"
    folder.mkdir(exist_ok=True)
    for content in (text, f"uri,video_id,prompt\n{text}"):
        assert find_faults(write_file(folder, "m.csv", content))


@given(st.lists(st.text(min_size=1, max_size=50).filter(str.strip), min_size=1, max_size=5))
def test_prompts_come_out_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "prompts"
    folder.mkdir(exist_ok=True)
    numbers = range(2, len(prompts) + 1)
    sheet = io.StringIO()
    csv.writer(sheet).writerows(
        [["video_id", "uri", "prompt", *(f"prompt_{number}" for number in numbers)], ["a", "a.mp4", *prompts]]
    )
    (video,) = read_catalog(write_file(folder, "m.csv", sheet.getvalue())).videos
    assert [turn.prompt for turn in video.turns] == prompts


def test_a_mask_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"mask")
    text = 'uri,video_id,prompt,mask\na.mp4,a,x,masks/a.png\na.mp4,b,x,"0,0,5,5"\na.mp4,c,x,masks/c.png\n'
    ((line, field, said),) = faults_of(tmp_path, text)
    assert (line, field) == (4, "mask")
    assert said == f"{tmp_path}/masks/c.png: does not exist"
