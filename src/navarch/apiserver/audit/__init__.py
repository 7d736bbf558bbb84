"""The audit log: who did what, and what came of it."""
