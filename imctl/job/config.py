"""What a job can be told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JobConfig"]


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Settings of one job.

    Args:
        hostname: Its name; a job is not in the registry.
        zone: Only comets of this zone are served, as by goim's job.
        group: Consumer group on the bus. Jobs of several zones need one group a zone.
        room_delay_s: Longest time a room message waits for others; 0 also calls a comet for each
            batch alone, instead of gathering what comes while the last call is under way.
        room_batch: Messages of a room that leave as one at the latest.
        room_batch_bytes: The same in bytes.
        room_signal_s: The wait of `compat_goim`, from a batch's first message.
        max_in_flight: Bus records taken and not done; at the bound no more are received.
        comet_window: Calls to one comet without a reply; more wait in its queue.
        comet_queue: Calls that wait for one comet; further ones are dropped and counted.
            Less than `max_in_flight`, so that a stuck comet does not stop the others.
        comet_queue_bytes: The same in bytes.
        comet_patience_s: A comet whose queue is half full is waited for so long; one that has
            not drained by then is not waited for again until it has.
        comet_timeout_s: Longest wait for the answer of a comet. Long, since a comet that
            is slow to answer has the message already.
        comet_retry_s: How long a message for a comet that cannot be reached is tried
            again, as long as the registry has that comet.
            What comes while the registry has no comet at all is held as long.
        comet_return_s: After that, a comet that comes with clients is coming back after an
            outage of the registry; the others get so long before messages go out.
        discover_timeout_s: Longest wait at the start for the registry's first answer.
        compat_goim: goim's room timing, its rounding of speed (which may become 0, unthrottled), and
            its order: a record is consumed before it is pushed, so a job that dies loses what it had read.
    """

    hostname: str = "job-1"
    region: str = "sh"
    zone: str = "sh001"
    env: str = "dev"
    weight: int = 10
    group: str = "goim-push-group-job"
    room_delay_s: float = 0.010
    room_batch: int = 20
    room_batch_bytes: int = 16_384
    room_signal_s: float = 1.0
    max_in_flight: int = 60_000
    comet_window: int = 4_096
    comet_queue: int = 20_000
    comet_queue_bytes: int = 64 * 1024 * 1024
    comet_patience_s: float = 1.0
    comet_timeout_s: float = 10.0
    comet_retry_s: float = 10.0
    comet_return_s: float = 1.0
    discover_timeout_s: float = 10.0
    compat_goim: bool = False
