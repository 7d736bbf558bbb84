"""Container images made from the distribution's own packages, for machines that reach no image registry."""
