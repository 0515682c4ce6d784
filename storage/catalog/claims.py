"""What each video of a catalog has for itself alone: its id, the folder of its results, and the session it works in."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from storage.address import ObjectAddress
from storage.catalog.faults import Place
from storage.catalog.places import same_name

Wrong = list[tuple[Place, str]]


@dataclass
class _Folders:
    """Folders that are taken, and those above them, each with the line that took it first."""

    taken: dict[str, int] = field(default_factory=dict)
    above: dict[str, int] = field(default_factory=dict)

    def claim(self, line: int, folder: str, shown: str) -> Wrong:
        """Faults of a folder that lies in another one's, or around it."""
        parts = folder.split("/")
        ways = ["/".join(parts[:length]) for length in range(1, len(parts))]
        other = self.taken.get(folder)
        around = next((self.taken[way] for way in ways if way in self.taken), None)
        inside = self.above.get(folder)
        self.taken.setdefault(folder, line)
        for way in ways:
            self.above.setdefault(way, line)
        if other is not None:
            return [(("output",), f"{shown!r} also holds the results of line {other} (capital letters do not count)")]
        if around is not None:
            return [(("output",), f"{shown!r} lies inside the results of line {around}")]
        return [] if inside is None else [(("output",), f"{shown!r} lies around the results of line {inside}")]


@dataclass
class Claims:
    """Who had what first, by line. One pass over a catalog, in order; as much is kept as there are names."""

    ids: dict[str, int] = field(default_factory=dict)
    alone: dict[str, int] = field(default_factory=dict)
    groups: dict[str, tuple[int, str]] = field(default_factory=dict)
    folders: _Folders = field(default_factory=_Folders)
    objects: _Folders = field(default_factory=_Folders)

    def claim_id(self, line: int, video_id: str) -> Wrong:
        """Faults of an id that another video has, be it in other letters: they are names of folders too."""
        first = self.ids.setdefault(same_name(video_id), line)
        if first == line:
            return []
        return [(("video_id",), f"{video_id!r} is also the video of line {first} (capital letters do not count)")]

    def claim_session(self, line: int, video_id: str, scope: str) -> Wrong:
        """Faults of a group that is spelt in two ways, or named as a video that is in no group.

        Sessions are named after groups, and after videos that are alone: two of one name would share a memory.
        """
        if scope == "video":
            name = same_name(video_id)
            self.alone.setdefault(name, line)
            if name in self.groups:
                first, group = self.groups[name]
                return [(("video_id",), f"{video_id!r} is also the group {group!r} of line {first}; rename one")]
            return []
        group = scope.removeprefix("group:")
        name = same_name(group)
        if name in self.groups:
            first, spelt = self.groups[name]
            said = f"group {group!r} is spelt {spelt!r} in line {first}"
            return [] if spelt == group else [(("memory_scope",), said)]
        self.groups[name] = line, group
        if name in self.alone:
            return [(("memory_scope",), f"group {group!r} is also the video of line {self.alone[name]}; rename one")]
        return []

    def claim_group(self, line: int, group: str) -> Wrong:
        """Faults of the folder of a group, which is named after it and is claimed by the group's first video."""
        return self.folders.claim(line, same_name(group), group) if self.groups[same_name(group)][0] == line else []

    def claim_prefix(self, line: int, output: ObjectAddress) -> Wrong:
        """Faults of results in a bucket that would lie in, or around, another video's."""
        return self.objects.claim(line, f"{output.bucket}/{output.key}", str(output))

    def claim_output(self, line: int, video_id: str, output: PurePosixPath | ObjectAddress) -> Wrong:
        """Faults of results that would lie in, or around, another video's.

        What goes to a bucket is made in the folder of the video's id first.
        """
        if isinstance(output, ObjectAddress):
            return self.folders.claim(line, same_name(video_id), video_id) + self.claim_prefix(line, output)
        return self.folders.claim(line, same_name(str(output)), str(output))
