"""The simulator: many clients, a schedule, a ledger of what each received."""
