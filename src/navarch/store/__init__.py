"""The store edge: etcd's model (revisions, compare-and-swap, watch, compaction) behind one interface."""
