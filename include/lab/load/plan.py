"""What one load run does: where it connects, how many clients, where it writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MEBIBYTE = 1_048_576
SLOW_SIZE = 64 * MEBIBYTE
SLOW_SECONDS = (20.0, 40.0)


@dataclass(frozen=True)
class Entrance:
    """One balancer as a client sees it, and its runtime API, which tells who serves an upload."""

    name: str
    address: str
    port: int
    admin_port: int


@dataclass(frozen=True)
class LoadPlan:
    """One run of the load. Sizes in bytes, times in seconds."""

    run: str
    """Eight hexadecimal digits, part of every image name of the run."""
    directory: Path
    entrances: tuple[Entrance, ...]
    clients: int = 6
    slow: int = 4
    interval: float = 0.5
    """From the start of one request of a quick client to the start of its next."""
    request_timeout: float = 60.0
    """Longest silence on a connection before it counts as failed."""
    quick_sizes: tuple[int, int] = (16_384, MEBIBYTE)
    slow_size: int = SLOW_SIZE
    """Buffers between a client and a node were seen to hold 7 to 11 MiB of a download: node and balancer 4 MiB
    each to send, the balancer 3 MiB to receive. So the node is busy for over 80 % of a slow download."""
    slow_seconds: tuple[float, float] = SLOW_SECONDS
    """How long a slow transfer takes, at least and at most."""

    @property
    def files(self) -> LoadFiles:
        return LoadFiles(self.directory)

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"directory": str(self.directory)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> LoadPlan:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError where it did not."""
        data = json.loads(text)
        data["directory"] = Path(data["directory"])
        data["entrances"] = tuple(Entrance(**entrance) for entrance in data["entrances"])
        for pair in ("quick_sizes", "slow_seconds"):
            data[pair] = tuple(data[pair])
        return cls(**data)


@dataclass(frozen=True)
class LoadFiles:
    """The files of the load, all in one directory."""

    directory: Path

    @property
    def plan(self) -> Path:
        return self.directory / "plan.json"

    @property
    def operations(self) -> Path:
        """One line for each request that is over."""
        return self.directory / "operations.jsonl"

    @property
    def begun(self) -> Path:
        """One line for each changing request, written before it is sent."""
        return self.directory / "begun.jsonl"

    @property
    def counters(self) -> Path:
        """Live figures, rewritten once a second."""
        return self.directory / "counters.json"

    @property
    def result(self) -> Path:
        return self.directory / "result.json"

    @property
    def log(self) -> Path:
        """What the generator printed: empty where nothing went wrong inside it."""
        return self.directory / "generator.log"

    @property
    def lock(self) -> Path:
        """Held by the generator as long as it lives; holds its pid."""
        return self.directory / "generator.lock"

    @property
    def control_lock(self) -> Path:
        """Held by a start or stop, so that two of them do not meet."""
        return self.directory / "control.lock"
