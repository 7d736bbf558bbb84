"""Devices and who gets them: pools of resource slices, what is in use of them, and the search that serves claims.

Pure. Source: dynamic-resource-allocation/structured; KEP-4381 (structured parameters), KEP-4816 (alternatives), KEP-4815
(shared counters), KEP-5055 (taints), KEP-5075 (consumable capacity), KEP-5007 (binding conditions), KEP-5004 (extended
resources).
"""
