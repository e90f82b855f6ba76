"""Shares of a preparation that several machines divide among them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from georank_zoo.utils.errors import UsageError

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Share:
    """One of a number of shares of about as many items, each a run of them.

    Attributes:
        number: Which one, from 1.
        of: Number of shares.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def take(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items of the share.

        Raises:
            UsageError: If there are fewer items than shares.
        """
        count = len(items)
        if count < self.of:
            raise UsageError(
                f"Share {self} cannot be taken: the source has {count} items (files, places or "
                f"scenes). Divide it into {count} shares or fewer."
            )
        return items[count * (self.number - 1) // self.of : count * self.number // self.of]


def parse_share(text: str) -> Share:
    """Reads a share such as `3/16`, the third of sixteen.

    Raises:
        UsageError: If it is not one.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(
            f"{text!r} is not a share. Give its number and how many there are, such as 3/16: "
            "1/16, 2/16 and so on up to 16/16."
        )
    return Share(number, of)
