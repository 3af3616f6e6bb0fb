//! Two or three thread's worth of links over loopback, in one thread. Each test is bounded in time and waits for conditions.

mod duplicates;
mod formation;
mod frames;
mod hostile;
mod refusals;
mod support;
mod tls;
