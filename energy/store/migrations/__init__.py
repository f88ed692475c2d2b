"""Alembic migrations, packaged with the code and run when a store is opened."""
