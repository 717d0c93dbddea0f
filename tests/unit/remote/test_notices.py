from __future__ import annotations

from entrepot.remote.notices import Notices, parse_warnings


def test_warnings_of_the_specification_are_read() -> None:
    """Code 299, agent -, a quoted text; several in one field or in several."""
    values = ['299 - "one", 299 - "two \\"quoted\\", with a comma"', '299 - "three"']
    assert parse_warnings(values) == ["one", 'two "quoted", with a comma', "three"]


def test_other_warnings_are_passed_over() -> None:
    """Other codes and agents are HTTP's own and not meant for people."""
    assert parse_warnings(['110 - "stale"', '299 agent "x"', "299 - unquoted", ""]) == []


def test_a_terminal_is_safe_from_a_warning() -> None:
    """Control characters in a warning are shown, not obeyed, and there is not too much of it."""
    assert parse_warnings(['299 - "\x1b[31mred"']) == ["\\x1b[31mred"]
    assert parse_warnings(['299 - "' + "x" * 5000 + '"']) == []


def test_each_warning_is_reported_once() -> None:
    """The same words from many answers are said once."""
    said: list[tuple[str, str]] = []
    notices = Notices("registry.example", lambda peer, text: said.append((peer, text)))
    for _ in range(3):
        notices.collect(['299 - "one"'])
    notices.collect(['299 - "two"'])
    assert said == [("registry.example", "one"), ("registry.example", "two")]
    assert notices.texts == ("one", "two")
    for number in range(1000):
        notices.collect([f'299 - "{number}"'])
    assert len(said) == 100
