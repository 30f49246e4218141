import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from tests.sim.language.texts import BASE, EVENTS, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["10s", "x4", "viewers", "room", "40/s", "", "1s..2s", "x1..x4", "disconnect", "kill"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("name", "count", "clients", "phases", "publish", "to", "rooms", "size", "duration", "expect"),
                    *("events", "at", "do", "who", "for", "reconnect", "backoff", "churn", "rate", "away", "include"),
                ]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    VALUES,
    st.sampled_from(
        [
            "name",
            "clients",
            "clients[0]",
            "clients[0].transport",
            "publish",
            "publish[0].size",
            "publish[0].rooms",
            "phases",
            "phases[0]",
            "phases[0].name",
            "phases[0].publish",
            "clients[0].churn",
            "clients[0].reconnect",
            "events",
            "events[0]",
            "events[0].do",
            "events[0].at",
            "include",
            "expect",
            "expect[0]",
        ]
    ),
)
def test_any_value_anywhere_gives_a_scenario_or_problems(value, path):
    written = yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...").replace("\n", " ")
    with contextlib.suppress(ScenarioError):  # anything else is a fault
        parse(BASE.replace("expect:\n", EVENTS + "expect:\n"), sets=[f"{path}={written}"])


@given(st.text(max_size=200) | st.text(alphabet="abc:-[]{}#&*!|>%@`'\"\n\t ${}.0", max_size=60))
def test_any_text_gives_a_scenario_or_problems(text):
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert caught.value.problems
