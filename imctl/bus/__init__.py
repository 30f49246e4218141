"""The bus between logic and job."""
