"""The answer extractor: exact decimals, whatever stands around them."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks._numbers import extract, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She earns 16 - 3 = 13 dollars.\n#### 13", "13"),
        (r"so the total is \boxed{18}", "18"),
        (r"so the total is $\boxed{1{,}250.50}$", "1250.5"),
        (r"costs \$1\,000", "1000"),
        ("it costs $1,234,567.80 in all", "1234567.8"),
        ("that is 50%", "50"),
        ("that is 50 %.", "50"),
        ("18.0", "18"),
        ("18.", "18"),
        (".5 litres", "0.5"),
        ("007", "7"),
        ("the balance is -5", "-5"),
        ("the balance is -$5", "-5"),
        ("the balance is $-5", "-5"),
        ("the balance is −5", "-5"),  # U+2212
        ("x=-7", "-7"),
        ("(-7)", "-7"),
        ("0.0", "0"),
        ("-0", "0"),
        ("20-5", "5"),  # a subtraction or a range, not minus five
        ("20 -5", "5"),
        ("pages 3-7", "7"),
        ("covid-19", "19"),
        ("(2 + 3) -4", "4"),
        ("items 1,2,3", "3"),  # a list, not 123
        ("1000,000", "1000000"),
        ("5e3", "5000"),
        ("1.5E-2", "0.015"),
        ("€12", "12"),
        ("12345678901234567890.10", "12345678901234567890.1"),
        ("**42**", "42"),
        ("A: 26", "26"),
    ],
)
def test_last_number(text: str, number: str) -> None:
    found = extract(text)
    assert found is not None
    assert (found.number, found.rule) == (number, "last number of the text")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 18. She has 3 eggs left.", "18"),
        ("The answer is $18 for 3 eggs.", "18"),
        ("The answer is: **4** out of 9", "4"),
        ("The answer is 3. No, wait. The answer is 5, not 6.", "5"),
        ("The answer is\n\\boxed{7}", "7"),
    ],
)
def test_first_number_after_the_last_mark(text: str, number: str) -> None:
    found = extract(text)
    assert found is not None
    assert (found.number, found.rule) == (number, "first number after 'The answer is'")


def test_a_mark_without_a_number_falls_back_to_the_whole_text() -> None:
    found = extract("We get 12. The answer is clear.")
    assert found is not None
    assert (found.number, found.rule) == ("12", "last number of the text")


@pytest.mark.parametrize("text", ["", "no idea", "The answer is unknown.", "٣", "²"])
def test_no_number(text: str) -> None:
    assert extract(text) is None


@pytest.mark.parametrize("text", ["", "12 eggs", "1 2", "twelve", "1/2"])
def test_parse_number_wants_one_number_and_nothing_else(text: str) -> None:
    assert parse_number(text) is None


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)
CANONICAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


@given(DECIMALS, st.sampled_from(["{}", "{:,}", "$", "{} dollars", "\\boxed{{{}}}", "{:,}%", "#### {:,}", "**{}**."]))
def test_any_decimal_in_any_dress_is_read_exactly(value: Decimal, dress: str) -> None:
    text = f"-${-value:,}" if dress == "$" and value < 0 else f"${value:,}" if dress == "$" else dress.format(value)
    for sentence in (f"In the end she has {text}", f"I had 3 and 4.\nThe answer is {text} and 99 is not it"):
        found = extract(sentence)
        assert found is not None
        assert Decimal(found.number) == value
        assert CANONICAL.fullmatch(found.number)


@given(st.text())
def test_any_text_gives_canonical_text_or_nothing(text: str) -> None:
    found = extract(text)
    if found is None:
        assert not re.search(r"[0-9]", text)
    else:
        assert CANONICAL.fullmatch(found.number)
        assert found.number != "-0"
        assert parse_number(found.number) == found.number


@given(st.text(), DECIMALS)
def test_what_was_said_before_never_matters(before: str, value: Decimal) -> None:
    found = extract(f"{before}\nThe answer is {value}")
    assert found is not None
    assert Decimal(found.number) == value


def test_long_digit_runs_end() -> None:
    found = extract("1" * 200_000 + "," * 200_000)
    assert found is not None
    assert len(found.number) == 200_000
