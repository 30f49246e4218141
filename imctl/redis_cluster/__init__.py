"""A Redis or Valkey Cluster: which node has which key, and commands that go there."""
