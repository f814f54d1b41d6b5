"""Tables and text on the terminal, shared by all studies."""
