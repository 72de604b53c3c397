"""Ops: one file a family, each op with its shape rule, its kernel and its gradient side by side."""
