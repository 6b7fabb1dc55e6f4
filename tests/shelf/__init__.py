"""An app with scripts, as a project would have it."""
