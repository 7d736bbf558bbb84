"""Index lists of indexed jobs, `0,3-5`: increasing numbers and ranges, all below the number of completions."""

from __future__ import annotations

import re

_NUMBER = re.compile("[+-]?[0-9]+", re.ASCII).fullmatch


def total(text: str, completions: int) -> int:
    """How many indexes a list has. Raises ValueError, in upstream's words."""
    count, last = 0, None
    for part in text.split(",") if text else ():
        low, high = _interval(part, completions)
        if last is not None and last >= low:
            raise ValueError(f"non-increasing order, previous: {last}, current: {low}")
        count += high - low + 1
        last = high
    return count


def overlap(one: str, other: str, completions: int) -> int | None:
    """The first index that both lists have; parts that cannot be read are passed over."""
    left, right = _readable(one, completions), _readable(other, completions)
    i = j = 0
    while i < len(left) and j < len(right):
        (a, b), (c, d) = left[i], right[j]
        if a <= d and c <= b:
            return max(a, c)
        if a <= c:
            i += 1
        else:
            j += 1
    return None


def _readable(text: str, completions: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        try:
            found.append(_interval(part, completions))
        except ValueError:
            continue
    return found


def _interval(part: str, completions: int) -> tuple[int, int]:
    limits = part.split("-")
    if len(limits) > 2:
        raise ValueError(
            f'the fragment "{part}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    numbers: list[int] = []
    for limit in limits:
        if not _NUMBER(limit) or len(limit) > 18:
            raise ValueError(f'cannot convert string to integer for index: "{limit}"')
        if int(limit) >= completions:
            raise ValueError(f'too large index: "{limit}"')
        numbers.append(int(limit))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]
