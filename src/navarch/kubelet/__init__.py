"""The node edge: pods from the API server made real through the container runtime (CRI)."""
