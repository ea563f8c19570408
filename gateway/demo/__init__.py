"""A walk-through without broker, camera, GPU or download: made passages through the real frame path."""
