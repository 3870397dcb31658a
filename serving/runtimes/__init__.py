"""The runtimes that artifacts are served in, a module each."""
