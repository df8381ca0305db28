"""The server: runner, connection limits, response cache, instrumentation."""
