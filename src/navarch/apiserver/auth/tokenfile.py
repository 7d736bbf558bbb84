"""The static token file: lines of `token,user,uid[,"group1,group2"]`. Source: authentication/token/tokenfile."""

from __future__ import annotations

import csv

from navarch.apiserver.request import User


def parse_tokens(text: str) -> dict[str, User]:
    """Raises ValueError for a line that is no token's."""
    found: dict[str, User] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3:
            raise ValueError(f"line {number}: token file must have at least 3 columns (token, user name, user uid)")
        token, name, uid = (word.strip() for word in row[:3])
        if not token or not name:
            raise ValueError(f"line {number}: a token and a user name must not be empty")
        groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
        found[token] = User(name, uid, groups)
    return found
