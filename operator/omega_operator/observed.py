"""What one look at the cluster shows of one resource."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from omega_operator.kinds import Kind, Manifest, Ref
from omega_operator.progress import Progress
from omega_operator.room import Room

LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class PodConfig:
    """What one pod says of its live configuration."""

    hash: str | None = None
    """Of the file that it applied last; None: nothing yet."""

    error: str | None = None
    """Why it refused the newest file, in the server's words."""

    reached: bool = True
    """Whether it answered at all."""


@dataclass(frozen=True)
class Observed:
    """The state of the world around one resource, as far as it was looked at."""

    children: Mapping[Ref, Manifest] = field(default_factory=dict)

    pods: tuple[Manifest, ...] = ()
    """The server's pods, oldest first."""

    download_pods: tuple[Manifest, ...] = ()
    """The pods of download Jobs, oldest first."""

    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the name of a pod that does not start: messages of its Warning events, newest first."""

    room: Room | None = None
    """What is free on the nodes and under quotas. None: not looked at, or not allowed to."""

    at: datetime = LONG_AGO
    """When the look was taken, in UTC: what has lasted for how long."""

    configs: Mapping[str, PodConfig] = field(default_factory=dict)
    """By the name of a running pod: what it says of its configuration."""

    download: Progress | None = None
    """What the download that runs says of itself."""

    kinds: frozenset[Kind] = frozenset()
    """Of the kinds that not every cluster has: those that this one has."""

    def child(self, ref: Ref) -> Manifest | None:
        """One child, if it exists."""
        return self.children.get(ref)
