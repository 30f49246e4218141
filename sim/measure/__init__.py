"""What was sent against what each receiver got: ledger, latencies, and where the losses were."""
