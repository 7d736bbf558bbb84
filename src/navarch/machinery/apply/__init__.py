"""Server-side apply: who owns which field, what an apply makes of an object, and when two appliers collide. All pure.

Source of the rules: KEP 555, and sigs.k8s.io/structured-merge-diff as release 1.36 carries it.
"""
