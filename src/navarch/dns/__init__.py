"""Cluster DNS: Services and EndpointSlices in, records and answers out."""
