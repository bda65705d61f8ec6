//! Rules of authority hold for every combination.
