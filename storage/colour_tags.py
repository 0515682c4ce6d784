"""Colour tags: FFmpeg's numbers and names for primaries, transfer, matrix and range."""

from dataclasses import dataclass

from av.video.frame import VideoFrame

PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
UNTAGGED_MATRICES = (2, 3)  # "unspecified" and "reserved"
RANGES = {1: "tv", 2: "pc"}
BRIGHTER_TRANSFERS = ("smpte2084", "arib-std-b67")
HDR_TRANSFERS = (*BRIGHTER_TRANSFERS, "bt2020-10", "bt2020-12")


@dataclass(frozen=True)
class Colour:
    """Colour tags as FFmpeg names them; None where the file says nothing."""

    primaries: str | None
    transfer: str | None
    matrix: str | None
    range: str | None

    @property
    def is_hdr(self) -> bool:
        """PQ, HLG or wide gamut: not for an eight-bit BT.709 model without tone mapping."""
        return self.transfer in HDR_TRANSFERS or self.primaries == "bt2020"

    @property
    def is_brighter(self) -> bool:
        """Whether white is not the brightest: PQ, HLG, and wide gamut that tells no transfer, which is taken for PQ."""
        return self.is_hdr and (self.transfer is None or self.transfer in BRIGHTER_TRANSFERS)


def read_colour(frame: VideoFrame) -> Colour:
    """The tags of a decoded frame."""
    full = frame.format.name.startswith("yuvj")
    return Colour(
        primaries=PRIMARIES.get(int(frame.color_primaries)),
        transfer=TRANSFERS.get(int(frame.color_trc)),
        matrix=MATRICES.get(int(frame.colorspace)),
        range="pc" if full else RANGES.get(int(frame.color_range)),
    )
