//! The vault from outside: what is sealed opens in its place and nowhere else, and a lost key is never replaced.

mod master_key;
mod sealing;
