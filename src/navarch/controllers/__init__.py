"""One file per controller: what it observes, and a pure reconcile."""
