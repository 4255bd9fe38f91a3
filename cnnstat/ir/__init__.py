"""The layer graph: operations, their facets, and the nodes that connect them."""
