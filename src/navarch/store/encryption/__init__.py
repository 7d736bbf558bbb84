"""What is confidential is encrypted before it reaches the disk."""
