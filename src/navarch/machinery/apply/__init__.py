"""Server-side apply and field ownership: field sets, typed merge by schema, managers and their conflicts.

Everything here is pure. Semantics: KEP-555 and sigs.k8s.io/structured-merge-diff.
"""
