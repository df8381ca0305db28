"""`make soak`: whether memory, open files and waits stay as they are while everything comes and goes."""
