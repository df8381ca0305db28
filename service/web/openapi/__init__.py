"""OpenAPI document and API documentation."""
