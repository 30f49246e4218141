"""What part of a run an expectation is about."""

from __future__ import annotations

import math

from sim.measure.segments import Segments
from sim.scenario.metrics import Subject
from sim.scenario.scenario import Expectation, Scenario

__all__ = ["scope_of"]


def scope_of(
    subject: Subject, expectation: Expectation, scenario: Scenario, segments: Segments
) -> tuple[tuple[int, ...], int | None, int | None]:
    """Return (its measured segments, the number of its population, that of its publisher); None for all of them."""
    if subject.phase:
        chosen = segments.of_phases(lambda phase: scenario.phases[phase].name == subject.phase)
    else:
        window = segments.between(expectation.from_s or 0.0, math.inf if expectation.to_s is None else expectation.to_s)
        measured = segments.of_phases(lambda phase: scenario.phases[phase].measure)
        chosen = tuple(segment for segment in window if segment in measured)
    populations = [population.name for population in scenario.clients]
    publishers = [publisher.name for publisher in scenario.publish]
    return (
        chosen,
        populations.index(subject.population) if subject.population else None,
        publishers.index(subject.publisher) if subject.publisher else None,
    )
