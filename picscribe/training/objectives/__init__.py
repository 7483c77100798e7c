"""What is minimised: the loss of people's words, and the rewards of sampled captions."""
