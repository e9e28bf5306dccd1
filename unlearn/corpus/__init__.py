"""Records, their file format, their splits, and synthetic people: plain data that both wings use."""
