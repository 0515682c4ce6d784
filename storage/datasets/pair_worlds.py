"""Pairs of the synthetic world, drawn on demand: one a seed. What an extension of them should look like is known."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from model.config import WorldConfig
from storage.datasets.pairs import Broken, Entry, Pair
from storage.datasets.synthetic import World, imagine, render
from storage.datasets.wording import Wording


@dataclass(frozen=True)
class PairWorlds:
    """`count` pairs from `first_seed` on, as many frames long as the worlds are."""

    count: int
    world: WorldConfig
    first_seed: int = 0
    wording: Wording = "training"

    def entries(self) -> Sequence[Entry]:
        return [self._entry(imagine(self.world, seed, self.wording)) for seed in self._seeds()]

    def read(self, wanted: Collection[str]) -> Iterator[Pair | Broken]:
        for seed in self._seeds():
            world = imagine(self.world, seed, self.wording)
            if world.id in wanted:
                drawn = render(world, self.world.size)
                yield Pair(self._entry(world), drawn.source, drawn.edited[0])

    def _entry(self, world: World) -> Entry:
        return Entry(world.id, world.id, world.change.instruction, (self.world.model_dump_json(),))

    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.count)
