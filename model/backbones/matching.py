"""Which tensor of a foreign checkpoint is which parameter of ours, and an account of it. Knows shapes, not tensors.

Two means, in this order: by name, through the table of Wan's original names; and by shape, for modules whose names are
not known to us (the memory modules of the official Memory-V2V checkpoint): modules of the same make, that is with the
same parameters of the same shapes, are paired in natural order if there are as many on both sides. Whatever is left
is reported, never guessed.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from model.errors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

WHOLE_MODEL = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head": "",
}
"""Modules of Wan, by their original names, in diffusers. `head` itself holds nothing but the modulation."""

ONE_BLOCK = {
    **{
        f"{original}.{theirs}": f"{diffusers}.{ours}"
        for original, diffusers in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for theirs, ours in (
            *(("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0")),
            *(("norm_q", "norm_q"), ("norm_k", "norm_k")),
        )
    },
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "": "",
    "cam_encoder": "camera",
    "projector": "projector",
}
"""Modules of one block; the last two are ReCamMaster's. Wan numbers its norms by name, diffusers by order of use."""

PARAMETERS = {"modulation": "scale_shift_table"}
BLOCK = re.compile(r"blocks\.(\d+)(?:\.(.+))?")
WRAPPERS = ("model.diffusion_model.", "pipe.dit.", "module.", "dit.")
SHOWN = 8


def wan_name(original: str) -> str | None:
    """Our name of a parameter of Wan or ReCamMaster; None if it is neither's."""
    for wrapper in WRAPPERS:
        original = original.removeprefix(wrapper)
    module, _, parameter = original.rpartition(".")
    block = BLOCK.fullmatch(module)
    known = ONE_BLOCK.get(block[2] or "") if block else WHOLE_MODEL.get(module)
    if known is None:
        return None
    parts = (f"blocks.{block[1]}" if block else "", known, PARAMETERS.get(parameter, parameter))
    return ".".join(part for part in parts if part)


@dataclass(frozen=True)
class Report:
    """What became of every tensor.

    `matched` maps our names to the checkpoint's; `by_shape` are those of them that were paired by shape alone;
    `missing` are parameters of ours that the checkpoint lacks, `unexpected` its tensors that we have no place for,
    `misshapen` those whose name fits and whose shape does not.
    """

    matched: dict[str, str]
    by_shape: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"matched {len(self.matched)} tensors, {len(self.by_shape)} of them by shape alone"]
        lines += [f"  by shape: {self.matched[ours]} -> {ours}" for ours in sorted(self.by_shape, key=_natural)]
        lines += [f"missing: {ours}" for ours in self.missing]
        lines += [f"unexpected: {theirs}" for theirs in self.unexpected]
        lines += [f"misshapen: {text}" for text in self.misshapen.values()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same account for programs: names by what became of them."""
        return {
            "matched": self.matched,
            "by_shape": sorted(self.by_shape, key=_natural),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "misshapen": list(self.misshapen.values()),
        }

    def check(self, may_miss: Collection[str] = (), may_ignore: Collection[str] = ()) -> None:
        """Raise `WeightsError` unless everything left over matches one of the glob patterns given for it."""
        missing = [ours for ours in self.missing if not _named(ours, may_miss)]
        unexpected = [theirs for theirs in self.unexpected if not _named(theirs, may_ignore)]
        faults = (("missing", missing), ("unexpected", unexpected), ("misshapen", list(self.misshapen.values())))
        told = [f"{len(names)} {kind} ({_some(names)})" for kind, names in faults if names]
        if told:
            raise WeightsError(
                f"the checkpoint does not fit the model: {'; '.join(told)}; give a checkpoint of this architecture, "
                "or name the tensors to be left out"
            )


def match(ours: Shapes, theirs: Shapes) -> Report:
    """Pair the parameters of a model with the tensors of a checkpoint, by name and then by shape."""
    matched: dict[str, str] = {}
    misshapen: dict[str, str] = {}
    for name, shape in theirs.items():
        target = wan_name(name) or ""
        place = target if target in ours else name
        if place not in ours or place in matched:
            continue
        if ours[place] == shape:
            matched[place] = name
        else:
            misshapen[place] = f"{name} is {list(shape)} where the model has {list(ours[place])}"
    taken = {*matched.values(), *(text.split(" is ")[0] for text in misshapen.values())}
    left = {name: shape for name, shape in theirs.items() if name not in taken}
    lacking = {name: shape for name, shape in ours.items() if name not in matched and name not in misshapen}
    paired = _pair_by_make(lacking, left)
    return Report(
        matched={**matched, **paired},
        by_shape=frozenset(paired),
        missing=tuple(sorted(lacking.keys() - paired.keys(), key=_natural)),
        unexpected=tuple(sorted(left.keys() - paired.values(), key=_natural)),
        misshapen=misshapen,
    )


def _pair_by_make(ours: Shapes, theirs: Shapes) -> dict[str, str]:
    """Parameters of modules of the same make, in natural order, where both sides have as many of that make."""
    places, modules = _by_make(ours), _by_make(theirs)
    paired: dict[str, str] = {}
    for make, targets in places.items():
        sources = modules.get(make, [])
        if len(sources) != len(targets):
            continue
        for target, source in zip(targets, sources, strict=True):
            paired.update({f"{target}.{leaf}": f"{source}.{leaf}" for leaf, _ in make})
    return paired


def _by_make(shapes: Shapes) -> dict[tuple, list[str]]:
    """Modules grouped by the names and shapes of their own parameters."""
    makes: dict[str, list] = defaultdict(list)
    for name, shape in shapes.items():
        module, dot, leaf = name.rpartition(".")
        if dot:
            makes[module].append((leaf, shape))
    groups: dict[tuple, list[str]] = defaultdict(list)
    for module in sorted(makes, key=_natural):
        groups[tuple(sorted(makes[module]))].append(module)
    return groups


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts block 2 before block 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _named(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
