"""What every kind that holds pods shares: the pod spec's defaults, validation and printed columns."""
