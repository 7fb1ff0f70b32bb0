"""What `ltat_tune` offers to notebooks and scripts."""
