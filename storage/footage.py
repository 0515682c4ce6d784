"""What is told of a video file to others, and in what two of them differ. From a probe; opens nothing."""

from fractions import Fraction

from model.config.base import Config
from storage.probe import VideoInfo

KEPT = ("frames", "rate", "timecode")
"""What must not change on the way: everything that is cut or mixed against the video counts on it."""
ROUNDING = Fraction(1, 500)  # seconds, of a first and a last moment
MOST_EXACT = 10**7  # parts of a rate that a container tells
ANOTHER_RATE = 2000  # parts of a rate, of which 24 and 23.976 are two apart


class ColourTags(Config):
    """Colour tags as FFmpeg names them; null where the file does not tell."""

    primaries: str | None
    transfer: str | None
    matrix: str | None
    range: str | None


class Sound(Config):
    """One sound track."""

    codec: str
    channels: int
    sample_rate: int


class Footage(Config):
    """A video file as others must know it: upright, in stored pixels."""

    container: str
    """FFmpeg's names for it."""
    codec: str
    frames: int
    width: int
    height: int
    sample_aspect: str
    """Width to height of a pixel, as a fraction."""
    rate: str
    """Frames a second, as a fraction; the mean where `variable_rate`."""
    variable_rate: bool
    timecode: str | None
    """Of the first frame; `;` before the frames means drop-frame."""
    bit_depth: int
    interlaced: str | None
    colour: ColourTags
    sound: tuple[Sound, ...]

    @property
    def exact_rate(self) -> Fraction:
        return Fraction(self.rate)

    @property
    def drop_frame(self) -> bool:
        return self.timecode is not None and self.timecode[-3] in ";."


def footage_of(info: VideoInfo) -> Footage:
    """What a probe found."""
    return Footage(
        container=info.container,
        codec=info.codec,
        frames=info.frames,
        width=info.width,
        height=info.height,
        sample_aspect=str(info.sample_aspect),
        rate=str(info.rate),
        variable_rate=info.variable_rate,
        timecode=info.timecode,
        bit_depth=info.bit_depth,
        interlaced=info.interlaced,
        colour=ColourTags(**vars(info.colour)),
        sound=tuple(
            Sound(codec=track.codec, channels=track.channels, sample_rate=track.sample_rate) for track in info.audio
        ),
    )


def changes(source: Footage, made: Footage) -> dict[str, str]:
    """In what `made` differs from `source`, as sentences by field; codec and container aside."""
    before, after = _told(source), _told(made)
    if _plays_alike(source, made):
        after |= {name: before[name] for name in ("rate", "variable rate")}
    differing = [name for name in before if before[name] != after[name]]
    return {name: f"{name} is {after[name]}, that of the source is {before[name]}" for name in differing}


def _plays_alike(source: Footage, made: Footage) -> bool:
    """Whether two rates are one but for rounding: containers tell moments, and rates, in fractions of their own.

    Matroska's milliseconds make 30 of 29.97 in a short clip; elsewhere those are two rates, however short it is.
    """
    one, other = (footage.frames / footage.exact_rate for footage in (source, made))
    coarse = any("matroska" in footage.container for footage in (source, made))
    return abs(one - other) <= ROUNDING + one / MOST_EXACT and (coarse or abs(one - other) * ANOTHER_RATE < one)


def _told(footage: Footage) -> dict[str, str]:
    fields = footage.model_dump(exclude={"container", "codec"})
    colour, sound = fields.pop("colour"), fields.pop("sound")
    tracks = ", ".join(f"{one['codec']} {one['channels']} channels" for one in sound)
    told = fields | {f"colour {name}": value for name, value in colour.items()} | {"sound": tracks}
    return {name.replace("_", " "): "none" if value in (None, "") else str(value) for name, value in told.items()}
