"""Bytes to requests and back: TLS, HTTP/1.1, streaming answers, upgrades. Knows nothing of Kubernetes."""
