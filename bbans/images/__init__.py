"""Picture files as pixels and metadata, exactly or not at all."""
