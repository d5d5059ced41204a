mod codec;
mod key;
mod meta;
