"""`make abuse`: attacks on a real service, directly and through the edge."""
