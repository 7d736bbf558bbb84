"""The Common Expression Language, as Kubernetes runs it: parsed, type-checked, bounded in cost, compiled to closures."""
