"""A real Kubernetes API server for tests, in the test's own process or beside it.

    from navarch.testing import Cluster

    with Cluster() as cluster:
        cluster.client.apply("apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a}")
        ...  # or any other client, with cluster.kubeconfig

With pytest: the fixture `cluster` (see `navarch.testing.plugin`).
"""

from navarch.testing.cluster import Cluster

__all__ = ["Cluster"]
