"""The only reconcile loop: observe, decide, execute; work queue, barriers, back-off."""
