"""ffmpeg filter chains between a source's pixels and full-range RGB, with the source's own colour tags both ways.

Untagged sources are taken as BT.709 from 720 lines up and as BT.601 below, limited range; their tags stay untold.
"""

from dataclasses import replace

from storage.colour_tags import Colour
from storage.probe import VideoInfo

SCALER = "flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
SCALER_NAMES = {"bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020"}
SDR = Colour("bt709", "bt709", "bt709", "tv")
DEINTERLACE = "bwdif=mode=send_frame:parity=auto:deint=interlaced"  # one frame out for each frame in
MAX_ASPECT_TERM = 65535  # of what a stream can tell
HD_LINES, HD_COLUMNS = 720, 1280


def pixel_format(bit_depth: int) -> str:
    """Interleaved RGB that holds the depth."""
    return "rgb24" if bit_depth <= 8 else "rgb48le"


def to_rgb(info: VideoInfo, width: int, height: int, *, tone_map: bool) -> list[str]:
    """Filters from decoded, upright frames to RGB of a size; HDR and wide gamut come out as BT.709 when tone-mapped."""
    size = f"scale={width}:{height}:{SCALER}"
    deinterlace = [DEINTERLACE] if info.interlaced else []
    rgb = f"format={pixel_format(info.bit_depth)}"
    if info.hdr and tone_map:
        return [
            *deinterlace,
            size,
            *_tone_map(info, width, height),
            f"scale={SCALER}:in_color_matrix=bt709:in_range=tv:out_range=pc",
            rgb,
        ]
    return [*deinterlace, f"{size}:in_color_matrix={_matrix(info)}:in_range={_range(info)}:out_range=pc", rgb]


def _tone_map(info: VideoInfo, width: int, height: int) -> list[str]:
    """Filters from pictures of a size to BT.709: only what is brighter than its white is tone-mapped."""
    colour = info.colour
    tags = f"tin={colour.transfer or 'smpte2084'}:pin={colour.primaries or 'bt2020'}:min={colour.matrix or 'bt2020nc'}"
    whole, given = _whole_chroma(info, width, height), f"zscale={tags}:rin={_range(info)}"
    if not colour.is_brighter:
        return [*whole, f"{given}:p=bt709:t=bt709:m=bt709:r=tv", "format=yuv444p10le"]
    return [
        *whole,
        f"{given}:t=linear:npl=100",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:r=tv",
        "format=yuv444p10le",
    ]


def _whole_chroma(info: VideoInfo, width: int, height: int) -> list[str]:
    """What zscale needs where a side is odd, which it cannot halve."""
    needed = (width % 2 or height % 2) and not is_rgb(info)
    return [f"scale={SCALER}", "format=yuv444p12le"] if needed else []


def to_planes(info: VideoInfo, pixels: str, *, tone_map: bool) -> list[str]:
    """Filters from decoded, upright frames to planes in the colours of the result.

    Where those are the source's colours and `pixels` its format, every code value stays as it is.
    """
    deinterlace = [DEINTERLACE] if info.interlaced else []
    if info.hdr and tone_map:
        return [*deinterlace, *_tone_map(info, info.width, info.height), f"format={pixels}"]
    given = "in_range=pc" if is_rgb(info) else told_colour(info, info.colour, "in")
    return [
        *deinterlace,
        f"scale={SCALER}:{given}:{told_colour(info, written_colour(info), 'out')}",
        f"format={pixels}",
    ]


def is_rgb(info: VideoInfo) -> bool:
    """Whether frames are stored as red, green and blue."""
    return any(name in info.pixels for name in ("rgb", "bgr", "gbr"))


def told_colour(info: VideoInfo, tags: Colour, side: str) -> str:
    """What the scaler is told of the colours that come `in` or go `out`."""
    return f"{side}_color_matrix={matrix_of(info, tags)}:{side}_range={tags.range or 'tv'}"


def matrix_of(info: VideoInfo, tags: Colour) -> str:
    """The matrix that tags mean, or that is usual for the size where they tell none."""
    return _matrix(replace(info, colour=tags))


def from_rgb(like: VideoInfo, tags: Colour, pixels: str) -> list[str]:
    """Filters from RGB of any size to an encoder's pixel format, with the source's size and aspect, and these tags."""
    return _written(like, tags, pixels, "in_range=pc")


def from_planes(like: VideoInfo, tags: Colour, pixels: str) -> list[str]:
    """The same from the planes that `to_planes` makes; nothing is converted that can stay."""
    return _written(like, tags, pixels, told_colour(like, written_colour(like), "in"))


def _written(like: VideoInfo, tags: Colour, pixels: str, given: str) -> list[str]:
    named = {name: value or "unknown" for name, value in vars(tags).items()}
    return [
        f"scale={like.width}:{like.height}:{SCALER}:{given}:{told_colour(like, tags, 'out')}",
        f"format={pixels}",
        f"setsar=sar={like.sample_aspect.numerator}/{like.sample_aspect.denominator}:max={MAX_ASPECT_TERM}",
        "setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}:range={range}".format(**named),
        "setparams=field_mode=prog",
    ]


def written_colour(like: VideoInfo) -> Colour:
    """The tags of the result: the source's, but BT.709 after tone mapping and where the source is RGB."""
    if like.hdr:
        return SDR
    return replace(like.colour, matrix="bt709", range="tv") if like.colour.matrix == "gbr" else like.colour


def declared_colour(info: VideoInfo) -> Colour:
    """The tags of a video, and for those that it does not tell what it is taken for here."""
    system = "bt709" if _matrix(info) == "bt709" else "smpte170m"
    colour = info.colour
    return Colour(
        primaries=colour.primaries or system,
        transfer=colour.transfer or system,
        matrix=colour.matrix or system,
        range=colour.range or "tv",
    )


def _matrix(info: VideoInfo) -> str:
    """The matrix to convert with, under the name that every version of ffmpeg's scaler knows."""
    if info.colour.matrix and info.colour.matrix != "gbr":
        return SCALER_NAMES.get(info.colour.matrix, info.colour.matrix)
    is_hd = info.height >= HD_LINES or info.width >= HD_COLUMNS
    return "bt709" if is_hd else "bt601"


def _range(info: VideoInfo) -> str:
    return info.colour.range or "tv"
