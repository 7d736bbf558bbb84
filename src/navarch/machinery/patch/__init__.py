"""The patches of objects: JSON patch, merge patch, strategic merge patch."""
