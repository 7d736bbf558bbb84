"""The Pod Security Standards: what pods may ask for at each level. Pure."""
