//! The sink from outside: what is accepted is found and followed; a broken disk and a slow reader harm nobody.

mod api;
mod app;
mod disk;
mod following;
mod keeping;
