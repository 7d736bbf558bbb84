"""What nodes and pods use, asked of the kubelets: the metrics API."""
