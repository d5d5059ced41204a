pub(super) mod disk;
pub(super) mod given;
mod power;
