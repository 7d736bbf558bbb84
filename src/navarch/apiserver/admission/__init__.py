"""The admission chain: upstream's plugins, in upstream's order."""
