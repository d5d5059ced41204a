pub(super) mod disk;
mod power;
