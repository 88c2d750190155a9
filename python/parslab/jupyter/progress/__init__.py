"""Shows how far a set of futures has come: a widget in a notebook, a line of text in a terminal."""
