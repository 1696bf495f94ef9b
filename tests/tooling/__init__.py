"""Static tests: what must hold for the files of the repository, whatever they do when run."""
