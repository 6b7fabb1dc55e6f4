"""Rate limits: exact, all or nothing, on the server's clock."""
