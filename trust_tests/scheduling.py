"""How pytest-xdist deals out trust tests: a variant's to one worker, as `trust_tests.sharding.groups` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadGroupScheduling, LoadScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController


class VariantScheduling(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    """xdist's loadgroup, the groups being those of `trust_tests.sharding.groups`.

    No `xdist_group` mark is set: xdist writes its name into the test's id, which should be one however the test is run,
    and which pytest 9.2 no longer lets xdist 3.8 do. groups: by test id, asked for when the first test is dealt out.
    """

    def __init__(self, config: pytest.Config, log: Producer, groups: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(config, log)
        self._read = groups
        self._groups: Mapping[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:
            self._groups = self._read()
        group = self._groups.get(nodeid)
        return super()._split_scope(nodeid) if group is None else f"trust gate: {group}"

    def remove_node(self, node: WorkerController) -> str | None:
        """As xdist's, but the test that took its worker down is not given to the next one, and the next."""
        units = self.assigned_work[node]
        crashed: str | None = next(
            (nodeid for unit in units.values() for nodeid, completed in unit.items() if not completed), None
        )
        if crashed is None:
            super().remove_node(node)
            return None
        del self.assigned_work[node]
        for scope, unit in units.items():
            if crashed in unit:
                unit[crashed] = True
            if not all(unit.values()):
                self.workqueue[scope] = unit
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed


class LateScheduling:
    """xdist's default distribution (`load`), but by variant as soon as trust tests turn out to be among the tests."""

    def __init__(self, config: pytest.Config, log: Producer, groups: Callable[[], Mapping[str, str]]) -> None:
        self._grouped = VariantScheduling(config, log, groups)
        self._inner: LoadScheduling | VariantScheduling = LoadScheduling(config, log)
        self._groups = groups

    def schedule(self) -> None:
        """Called when all workers have collected, and again for each that replaces a crashed one."""
        plain = self._inner
        if isinstance(plain, LoadScheduling) and plain.collection is None and self._groups():
            for node in plain.nodes:
                self._grouped.add_node(node)
                self._grouped.add_node_collection(node, plain.node2collection[node])
            self._inner = self._grouped
        self._inner.schedule()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner scheduling's."""
        return getattr(self._inner, name)
