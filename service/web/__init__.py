"""What readers get. Everything is made of the board's memory; nothing here asks a bank."""
