"""Editors and Embedders that stay when a run ends, for the next run that asks for the same.

To start one takes longer than to edit a clip of the tests, most of it for imports. Only those are kept that nobody held
when their run ended, and only those that answer are given out.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayError

from flows import catalog, edit
from tasks import pool
from tasks.actors.editor import Editor, Embedder
from tasks.pool import EditorPool

ANSWER_SECONDS = 10.0


class KeptActors:
    """What runs gave back, by what they had asked for."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._asked: dict[Any, str] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Runs within take what is kept, and leave what they took. In the end none holds a core: others may need it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool, "Editor", Standing(self, Editor, "progress"))
            patch.setattr(pool, "Embedder", Standing(self, Embedder, "identity"))
            patch.setattr(EditorPool, "close", lambda editors: self._close(editors))
            for flow in (edit, catalog):
                patch.setattr(flow, "dismiss", self._dismiss)
            yield
        self._make_room()

    def take(self, asked: str, question: str) -> Any | None:
        """One that is kept and answers; where there is none, room for a new one."""
        while self._idle[asked]:
            actor = self._idle[asked].pop()
            if _answers(actor, question):
                return actor
            ray.kill(actor)
        if has_core(asked):
            self._make_room()
        return None

    def know(self, actor: Any, asked: str) -> None:
        """Keep it once it is given back."""
        self._asked[actor] = asked

    def _give_back(self, actor: Any) -> None:
        """Keep it, but no second one that holds a core: other processes join this cluster."""
        asked = self._asked[actor]
        if has_core(asked) and any(map(self._idle.get, filter(has_core, self._idle))):
            ray.kill(actor)
        else:
            self._idle[asked].append(actor)

    def _close(self, editors: EditorPool) -> None:
        editors._ended.set()
        for editor in editors._all:
            (self._give_back if editor in editors._free.queue else ray.kill)(editor.actor)

    def _dismiss(self, editors: EditorPool, embedder: Any) -> None:
        editors.close()
        self._give_back(embedder)

    def _make_room(self) -> None:
        """End those that hold cores."""
        for asked in filter(has_core, list(self._idle)):
            for actor in self._idle.pop(asked):
                ray.kill(actor)


@dataclass(frozen=True)
class Standing:
    """In the place of a class of actors. Where one is asked for, a kept one will do, if it answers this question."""

    kept: KeptActors
    kind: Any
    question: str

    def options(self, **needs: Any) -> "Asking":
        return Asking(self, needs)


@dataclass(frozen=True)
class Asking:
    """With these needs."""

    standing: Standing
    needs: dict[str, Any]

    def remote(self, *given: Any) -> Any:
        kept, asked = self.standing.kept, repr((self.standing.question, self.needs, given))
        if (actor := kept.take(asked, self.standing.question)) is None:
            actor = self.standing.kind.options(**self.needs).remote(*given)
            kept.know(actor, asked)
        return actor


def has_core(asked: str) -> bool:
    """Whether what was asked for so holds a core."""
    return "'num_cpus': 0" not in asked


def _answers(actor: Any, question: str) -> bool:
    try:
        ray.get(getattr(actor, question).remote(), timeout=ANSWER_SECONDS)
    except (RayError, GetTimeoutError):
        return False
    return True
