"""One file per navarch command."""
