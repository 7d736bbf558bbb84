"""pods/{exec,attach,portforward,log} and the proxies of pods, nodes and services: carried to the node, or to the pod."""
