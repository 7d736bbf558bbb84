"""What exists: one file per kind (scope, names, defaults, validation, columns). No I/O."""
