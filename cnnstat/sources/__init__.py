"""Sources: what a user names, and how each kind becomes a layer graph."""
