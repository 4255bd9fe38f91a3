"""Exported models: files that hold a graph, read without the framework that wrote them."""
