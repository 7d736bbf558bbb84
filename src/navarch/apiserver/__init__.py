"""The wire edge: HTTP, filters, authentication, authorization, admission, the generic registry."""
