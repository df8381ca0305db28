"""Several instances: one leader polls, the others follow."""
