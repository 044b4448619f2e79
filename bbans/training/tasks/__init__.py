"""What a run trains: a family of models on its pictures (`task`). One module for each kind of family."""
