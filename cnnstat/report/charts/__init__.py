"""Charts as vector pictures, for pages, notebooks and files; one file a kind of chart."""
