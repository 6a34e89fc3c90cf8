"""States of a session."""

import pytest

from app.sessions.state import TRANSITIONS, IllegalTransition, SessionState, StateMachine, Status


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(SessionState)


def test_a_session_can_be_told_to_end_in_every_state_but_the_last_two() -> None:
    endable = {state for state, following in TRANSITIONS.items() if SessionState.DRAINING in following}
    assert endable == set(SessionState) - {SessionState.DRAINING, SessionState.STOPPED}


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, frontier = {SessionState.STARTING}, [SessionState.STARTING]
    while frontier:
        new = TRANSITIONS[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)
    assert reached == set(SessionState)


@pytest.mark.parametrize("before", SessionState)
@pytest.mark.parametrize("after", SessionState)
def test_only_listed_transitions_are_taken(before: SessionState, after: SessionState) -> None:
    machine = StateMachine(lambda status: None)
    machine._status = Status(before)
    if after in TRANSITIONS[before] or after is before:
        machine.to(after)
        assert machine.status.state is after
    else:
        with pytest.raises(IllegalTransition):
            machine.to(after)
        assert machine.status.state is before


def test_listeners_hear_of_each_change_with_its_reason() -> None:
    heard: list[Status] = []
    machine = StateMachine(heard.append)
    machine.to(SessionState.RUNNING)
    machine.to_if(SessionState.STALE, when=frozenset({SessionState.RUNNING}), reason="no frame")
    assert not machine.to_if(SessionState.STALE, when=frozenset({SessionState.RUNNING}))
    assert heard == [Status(SessionState.RUNNING), Status(SessionState.STALE, "no frame")]


def test_a_conditional_change_is_checked_too() -> None:
    machine = StateMachine(lambda status: None)
    with pytest.raises(IllegalTransition):
        machine.to_if(SessionState.STOPPED, when=frozenset({SessionState.STARTING}))
