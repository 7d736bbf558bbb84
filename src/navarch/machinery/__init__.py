"""Values and pure functions on objects: no I/O, no clock, no knowledge of any kind."""
