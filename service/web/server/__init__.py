"""HTTP server: runner, connection limits, response cache, instrumentation."""
