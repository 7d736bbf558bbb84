"""Certificate requests: approved for nodes, signed by the cluster's authority, and cleaned up."""
