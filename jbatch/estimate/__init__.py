"""What a plan would cost on TPU pods that are not here."""
