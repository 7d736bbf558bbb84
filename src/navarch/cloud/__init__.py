"""Cloud controllers and the Provider protocol."""
