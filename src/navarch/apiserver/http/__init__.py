"""Bytes to requests and back: TLS, HTTP/1.1, upgrades. Knows nothing of Kubernetes."""
