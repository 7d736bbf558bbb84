"""The kinds of the apps group."""
