"""What happened: the notebook of a request, its record, and where records go."""
