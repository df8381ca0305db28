"""The HTTP interface. Responses are made from memory; no request reaches a bank."""
