"""What the speed claims come from: CPU per unit of work, beside a raw loop in the same run."""
