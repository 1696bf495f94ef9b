"""Server-side request forgery: no spelling and no answer leads inside."""
