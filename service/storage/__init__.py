"""Redis: repository, codecs, coordination, synchronisation."""
