"""Private APIs of Ray Core: nodes, joining a cluster, the state of a cluster, folders of logs."""
