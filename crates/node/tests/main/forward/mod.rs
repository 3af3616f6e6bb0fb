//! Requests that other nodes serve.

mod model;
mod rules;
mod support;
