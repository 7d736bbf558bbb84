"""Virtual clock, hollow nodes, seeded faults."""
