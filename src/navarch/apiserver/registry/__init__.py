"""The generic REST registry on the watch cache, and the few resources with behaviour of their own."""
