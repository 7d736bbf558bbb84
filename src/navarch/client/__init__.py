"""One Client interface with two transports (in-process and HTTP), and informers on top of it."""
