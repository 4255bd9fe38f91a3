"""The spec language: a network as YAML, read into a layer graph by `cnnstat.spec.spec_graph`.

yaml_file → spec_document → items → expand; expressions are evaluated in a scope, and load refuses too large a network
before anything is built.
"""

SUFFIXES = (".yaml", ".yml", ".json")
"""Endings of the files that hold specs."""
