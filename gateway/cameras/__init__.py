"""Where pictures come from: recordings decoded and searched for faces in a child process."""
