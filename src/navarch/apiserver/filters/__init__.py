"""What every request passes, in one ordered list."""
