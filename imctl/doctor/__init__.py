"""What on this machine or in this cluster stands in the way of imctl: `imctl doctor`."""
