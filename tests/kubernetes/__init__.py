"""A stand-in for a cluster, for tests of KubernetesProvider."""
