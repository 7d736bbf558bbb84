"""The scheduling queue, the pure cycle on arrays, its plugins, and the binding edge."""
