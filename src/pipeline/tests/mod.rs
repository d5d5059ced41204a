mod disk;
mod power;
