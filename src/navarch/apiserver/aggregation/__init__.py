"""Versions of groups that other servers in the cluster serve: APIServices with a service."""
