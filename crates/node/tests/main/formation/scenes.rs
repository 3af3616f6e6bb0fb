//! Scenes with one cause each.
