"""Tables and text for a person at a terminal, shared by all studies."""
