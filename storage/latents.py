"""The payload of memories: edited and source latents by id, a blob that no search touches (docs/decisions/0004).

One table for every kind of memory: an id is an id. Does not know what a memory is of.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import lance
import numpy as np
import pyarrow as pa
from jaxtyping import Float16
from lancedb.expr import col
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.errors import StoreError
from model.types import LATENT_DTYPE
from storage.tables import PRIMARY_KEY, compact_payloads, insert_missing, open_table, read_all, readable

TABLE = "latents"
CACHE_BYTES = 256 * 2**20
LATENTS_PER_FRAGMENT = 64  # about the commits between two maintenances, so that each payload is rewritten once

SCHEMA = pa.schema([PRIMARY_KEY, lance.blob_field("data")])
"""Safetensors bytes by the id of their memory, of whatever kind."""

Latents = Float16[np.ndarray, "channel time row column"]


class LatentStore:
    """The latents of one output folder; threads may share it.

    Raises:
        StoreError: the store is damaged, or was written by another version.
    """

    def __init__(self, uri: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._uri = uri
        self._table = open_table(uri, TABLE, SCHEMA)
        self._cache: OrderedDict[str, tuple[Latents, Latents]] = OrderedDict()
        self._cache_room = cache_bytes
        self._lock = Lock()

    def put(self, id: str, edited: Latents, source: Latents) -> None:
        """Keep a payload; the first one of an id stays."""
        payload = save({"edited": np.ascontiguousarray(edited), "source": np.ascontiguousarray(source)})
        blob = pa.table([[id], lance.blob_array([payload])], schema=SCHEMA)
        if insert_missing(self._table, blob):
            self._keep(id, (edited, source))

    def get(self, ids: Sequence[str]) -> list[tuple[Latents, Latents]]:
        """Edited and source latents, in the order of `ids`.

        Raises:
            StoreError: some are missing.
        """
        with self._lock:
            pairs = {id: self._cache[id] for id in ids if id in self._cache}
            for id in pairs:
                self._cache.move_to_end(id)
        if missing := [id for id in ids if id not in pairs]:
            fetched = self._fetch(missing)
            for id, pair in fetched.items():
                self._keep(id, pair)
            pairs |= fetched
        return [pairs[id] for id in ids]

    def maintain(self) -> None:
        """Merge small fragments. Never `optimize()`, which rewrites every payload."""
        compact_payloads(self._uri, TABLE, LATENTS_PER_FRAGMENT)

    def _fetch(self, ids: Sequence[str]) -> dict[str, tuple[Latents, Latents]]:
        found = self._table.search().where(col("id").isin(list(ids))).select(["id"]).with_row_id(True)
        table = read_all(self._uri, found)
        places = dict(zip(table["id"].to_pylist(), table["_rowid"].to_pylist(), strict=True))
        if absent := [id for id in ids if id not in places]:
            raise StoreError(f"{self._uri}: latents of memories are missing: {', '.join(absent)}; restore the folder")
        with readable(self._uri):
            payloads = self._table.fetch_blobs("data", [places[id] for id in ids])
        return {id: self._unpack(id, payload.as_py()) for id, payload in zip(ids, payloads, strict=True)}

    def _unpack(self, id: str, payload: bytes) -> tuple[Latents, Latents]:
        """Edited and source latents; the payload may have come with a foreign archive."""
        try:
            tensors = load(payload)
            pair = tensors["edited"], tensors["source"]
        except (SafetensorError, KeyError, ValueError) as fault:
            raise StoreError(f"{self._uri}: latents of memory {id} are damaged; delete its turn") from fault
        if not all(half.dtype == LATENT_DTYPE and half.ndim == 4 for half in pair):
            kinds = " and ".join(f"{half.dtype}{list(half.shape)}" for half in pair)
            raise StoreError(
                f"{self._uri}: latents of memory {id} are {kinds}, not four axes of float16; delete its turn"
            )
        return pair

    def _keep(self, id: str, pair: tuple[Latents, Latents]) -> None:
        """Remember latents in memory, as many as there is room for, the latest used."""
        with self._lock:
            self._cache[id] = pair
            self._cache.move_to_end(id)
            while len(self._cache) > 1 and sum(_size(kept) for kept in self._cache.values()) > self._cache_room:
                self._cache.popitem(last=False)


def _size(pair: tuple[Latents, Latents]) -> int:
    return pair[0].nbytes + pair[1].nbytes
