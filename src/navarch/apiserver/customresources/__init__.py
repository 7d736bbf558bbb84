"""Custom resources: from definitions to what is served."""
