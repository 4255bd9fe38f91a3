"""Sources: each file reads one kind of model description and returns a layer graph."""
