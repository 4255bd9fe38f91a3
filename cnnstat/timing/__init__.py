"""What a profile says, without measuring anything: times, ceilings, the identity, and two profiles side by side."""
