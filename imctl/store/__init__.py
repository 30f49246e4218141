"""Where sessions and room counts are kept."""
