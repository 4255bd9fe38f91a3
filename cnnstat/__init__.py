"""cnnstat: a command-line analyzer of CNN architectures."""
