"""All balancers of a fleet as one: each is asked and each is told, or it is an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rolling_upgrade.decisions.rotation import ServerView, views_of
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.balancer import Admin, BalancerHook


class Balancers:
    """The balancers of one fleet."""

    def __init__(self, hooks: Sequence[BalancerHook]) -> None:
        self._hooks = tuple(hooks)

    @classmethod
    def from_connections(cls, fleet: Fleet) -> Balancers:
        return cls([BalancerHook.from_connection(balancer) for balancer in fleet.balancers])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(hook.name for hook in self._hooks)

    @property
    def hooks(self) -> tuple[BalancerHook, ...]:
        return self._hooks

    def views(self) -> list[ServerView]:
        """Every server on every balancer. Raises UnreachableError when one of them cannot be asked."""
        return [view for hook in self._hooks for view in hook.servers()]

    def views_of(self, server: str) -> list[ServerView]:
        """One view for each balancer. Raises UnreachableError, or VerifyError when one does not know the server."""
        views = views_of(server, self.views())
        if len(views) != len(self._hooks):
            known = ", ".join(view.balancer for view in views) or "none"
            raise VerifyError(
                f"server {server} is known to {known} of the balancers {', '.join(self.names)}.",
                expected=f"every balancer to have a server named {server}.",
                safe="no state was changed by this question.",
                next_step="correct the server's name on the balancers or in the fleet file, then clear this task.",
            )
        return views

    def set_where(self, server: str, state: Admin, applies: Callable[[ServerView], bool]) -> list[str]:
        """Set a state on each balancer whose view of the server calls for it; returns their names."""
        by_name = {view.balancer: view for view in self.views_of(server)}
        changed = []
        for hook in self._hooks:
            if applies(by_name[hook.name]):
                hook.set_state(server, state)
                changed.append(hook.name)
        return changed
