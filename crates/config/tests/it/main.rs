//! Mistakes are told whole, each where it is; settings come from where they should.

mod project;
mod settings;
