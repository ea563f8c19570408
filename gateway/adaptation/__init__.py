"""What makes the detector live with a changing place: drift, clean sets, new weights."""
