"""job: takes records from the bus to the comets."""
