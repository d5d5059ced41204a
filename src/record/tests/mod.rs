mod documents;
mod errors;
mod escapes;
mod healing;
mod limits;
mod privacy;
mod specifiers;
pub(crate) mod support;
mod times;
