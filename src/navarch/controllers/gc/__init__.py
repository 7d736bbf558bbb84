"""The garbage collector: dependents follow their owners."""
