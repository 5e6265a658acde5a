"""What a fault is, and what one injection of it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from include.lab.settings import BALANCERS, Balancer, LabSettings, Node


@dataclass(frozen=True)
class Injection:
    """One fault at one place. ``seconds`` and ``upload`` say how, the fields before them where."""

    fault: str
    node: str | None = None
    balancer: str | None = None
    release: str | None = None
    archive: bool = False
    """In the release's archive, not on a node."""
    seconds: int | None = None
    upload: bool = False
    done: bool = False
    """Its injection came to its end."""

    @property
    def place(self) -> tuple[object, ...]:
        """Two injections at one place are one."""
        return (self.fault, self.node, self.balancer, self.release, self.archive)

    def options(self) -> frozenset[str]:
        """Names of what was given besides the fault."""
        given = (name for name, value in asdict(self).items() if value not in (None, False))
        return frozenset(given) - {"fault", "done"}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        words = [self.fault]
        words += [f"on {self.node}"] if self.node else []
        words += [f"on {self.balancer}"] if self.balancer else []
        words += [f"in the archive of {self.release}" if self.archive else f"of {self.release}"] if self.release else []
        return " ".join(words)

    def node_of(self, settings: LabSettings) -> Node:
        """The node it names. Raises StopIteration for one that is not in the lab, which the command has refused."""
        return next(node for node in settings.nodes if node.name == self.node)

    def balancer_of(self) -> Balancer:
        """The balancer it names."""
        return next(balancer for balancer in BALANCERS if balancer.name == self.balancer)

    def version(self) -> str:
        """The release it names."""
        if self.release is None:
            raise ValueError(f"{self.fault} names no release")
        return self.release


Act = Callable[[LabSettings, Injection], None]


def _refuses_nothing(_settings: LabSettings, _injection: Injection) -> None:
    return


def _says_nothing(_settings: LabSettings, _injection: Injection) -> str:
    return ""


@dataclass(frozen=True)
class Fault:
    """One kind of fault. Each function may be called again, also after one that was killed in the middle.

    ``inject`` and ``lift`` see for themselves that the fault is there or gone, and raise LabError if not.
    """

    name: str
    does: str
    """One sentence for the help."""
    forms: tuple[frozenset[str], ...]
    """Which options must be given: all of one of these sets."""
    inject: Act
    lift: Act | None
    """None: it happens once, and there is nothing to lift."""
    is_there: Callable[[LabSettings, Injection], bool]
    check: Act = _refuses_nothing
    """Raises LabError where it cannot be injected. Then nothing was changed, and nothing is undone."""
    may: frozenset[str] = field(default=frozenset())
    """Which options may be given besides."""
    outside: Act | None = None
    """Ends what of it lies outside machines, balancers and database, which making those anew would not end."""
    detail: Callable[[LabSettings, Injection], str] = _says_nothing
    """What more there is to tell of it."""
