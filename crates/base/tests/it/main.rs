//! The words of the product hold what they promise.
