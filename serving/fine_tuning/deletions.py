"""Models that jobs made are deleted: `Deletions(store, models, ...).delete("org/base:support@3f9c1a2b")`.

The rows say first that a model is being deleted, so that what a crash cuts off is done when a server starts again.
"""

from __future__ import annotations

import logging
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from serving.errors import Conflict, NotFound
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.store import DELETED, DELETING, KEPT, OPEN, Event, JobStore
from storage.errors import ArbiterError
from storage.folders import delete_folder, sweep_drafts

_log = logging.getLogger("arbiter.fine_tuning")


@dataclass(frozen=True, eq=False)
class Deletions:
    """Of the models of one place, whose adapters lie in `adapters`."""

    store: JobStore
    models: TunedModels
    _: KW_ONLY
    place: str
    adapters: Path

    def delete(self, model: str) -> None:
        """Answer no new request by a model; its adapter is deleted in the background when those in flight have ended.

        Raises NotFound for a model that no job made, and Conflict where something else needs it.
        """
        self.models.refuse_fixed(model)
        made = [job for job in self.store.made(self.place) if job.outcome["fine_tuned_model"] == model]
        if not made:
            raise NotFound(f"no fine-tuned model {model!r:.200}", param="model", code="model_not_found")
        adapter: str = made[0].outcome["adapter"]
        for job in self.store.among(self.place, OPEN):
            if job.work["recipe"]["continue_from"] == adapter:
                raise Conflict(
                    f"model {model!r} cannot be deleted: job {job.id} trains it further; wait for it, or cancel it",
                    param="model",
                    code="model_in_use",
                )
        self.store.set_fate(self.place, adapter, KEPT, DELETING, [Event(f"model {model} was deleted")])
        self.models.withdraw(adapter, lambda: self._remove(adapter))

    def finish(self) -> None:
        """Do what an earlier server left, before anything is served."""
        sweep_drafts(self.adapters)
        for adapter in {job.outcome["adapter"] for job in self.store.made(self.place, DELETING)}:
            self._remove(adapter)

    def _remove(self, adapter: str) -> None:
        """Delete an adapter from the disk, unless it was made again meanwhile."""
        try:
            if not any(job.outcome["adapter"] == adapter for job in self.store.made(self.place)):
                delete_folder(self.adapters / adapter)
            self.store.set_fate(self.place, adapter, DELETING, DELETED)
        except ArbiterError as error:
            _log.warning("adapter=%s will be deleted when a server starts again: %s", adapter, error)
