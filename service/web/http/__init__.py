"""Responses, problem documents, assets."""
