"""The scheduling framework's plugins, one file each: which nodes are out, why, and how good the others are.

A `NodePlugin` depends on a node's own object and the pod's placement only: its verdict for a class of pods is kept and
renewed for changed nodes. A `UsagePlugin` depends on what runs on the nodes and works on whole arrays.
"""
