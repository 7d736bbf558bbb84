"""API Priority and Fairness (KEP-1040): who waits for whom when there is more to do than can be done at once."""
