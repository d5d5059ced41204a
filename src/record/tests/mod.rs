mod errors;
mod escapes;
mod healing;
mod limits;
mod specifiers;
pub(crate) mod support;
mod times;
