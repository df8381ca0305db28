"""`make abuse`: what strangers do to a server that all can reach, done to a real one, alone and behind the edge."""
