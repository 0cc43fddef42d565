"""What is asked: examples, labels and weights of each benchmark. One file per task; never imports torch."""
